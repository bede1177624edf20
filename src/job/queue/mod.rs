//! A job that many processes work on, on whatever machines, through Redis Streams.
//!
//! | file | idea |
//! |---|---|
//! | `feed` | the process that has the files: feeds its lines to the others, and gathers what comes of them |
//! | `work` | one that answers them |
//! | `store` | a job's keys in Redis |
//! | `*.lua` | what is done there, each in one piece |
//!
//! `items` is the stream of lines, and its consumer group knows which worker has which. A worker says again and again that it lives; what one
//! has that was not heard of for a while is claimed by another. `open` has each line that was fed and is not in its file yet: with its item's
//! id, or `=` once it is answered. By that the first answer is the one that counts, whoever it is from. `results` is the stream of answers,
//! and an answer leaves it when it is on the disk.

mod feed;
mod store;
mod work;

pub(super) use self::feed::Far;
pub(super) use self::store::Queue;
pub use self::work::WorkJob;
