//! What ends a job as a whole, in words. Names of files are their owner's own, and are told.

use std::io;
use std::path::Path;

use crate::error::{Error, Kind};

/// `reason`: a stable word for it.
pub(super) fn of(reason: &'static str, message: impl Into<String>) -> Error {
    Error::new(Kind::Job { reason }, message)
}

pub(super) fn input(path: &Path, error: &io::Error) -> Error {
    of("input", format!("the input {} cannot be read: {}", path.display(), words(error)))
        .caused_by(Some(error.to_string()))
}

pub(super) fn output(path: &Path, error: &io::Error) -> Error {
    let reason = if is_full(error) { "full" } else { "output" };
    of(reason, format!("{} cannot be written: {}", path.display(), words(error)))
        .caused_by(Some(error.to_string()))
}

/// Whether there is no more room: on the disk, in what its user may have of it, or in what a file may have.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "it is not allowed".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "the quota is used up".to_owned(),
        io::ErrorKind::FileTooLarge => "the file may have no more bytes".to_owned(),
        _ => error.to_string(),
    }
}
