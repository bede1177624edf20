use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use trunkline::config::JobOptions;
use trunkline::error::Error;
use trunkline::job::{Control, FileJob, Summary};

use crate::support::*;

pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str, lines: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trunkline-job-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("in.jsonl"), lines).unwrap();
        Self(path)
    }

    pub(crate) async fn run(&self, site: &Site, more: Value) -> Result<Summary, Error> {
        let files = json!({ "input": self.0.join("in.jsonl"), "output": self.0.join("out.jsonl") });
        let options = JobOptions::parse(merge(files, more)).unwrap();
        let call = site.client.call_options(None).unwrap();
        let job = FileJob { client: site.client.clone(), options, call, witness: None };
        job.run(Arc::<Control>::default()).await
    }

    pub(crate) fn results(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.0.join(file)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn line(id: &str) -> String {
    let body = with(json!({ "messages": [{ "role": "user", "content": id }] }));
    json!({ "custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body }).to_string()
}

#[tokio::test]
async fn of_many_lines_each_is_answered_once_and_each_name_that_is_there_twice_is_told() {
    let site = Site::new(Way::H2c);
    let lines: Vec<_> = (0..3000).map(|n| line(&format!("id-{}", n % 2900))).collect();
    let folder = Folder::new("many", &lines.join("\n"));
    let summary = folder.run(&site, json!({})).await.unwrap();
    assert_eq!((summary.status, summary.bad_lines), ("done", 100));
    assert_eq!((summary.progress.succeeded, summary.progress.failed, site.seen()), (2900, 100, 2900));
    let mut names: Vec<_> = folder
        .results("out.jsonl")
        .iter()
        .map(|told| told["custom_id"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 2900);
    let errors = folder.results("out.errors.jsonl");
    assert!(errors.iter().all(|told| told["error"]["code"] == "duplicate_custom_id"));
    let first = errors.iter().find(|told| told["custom_id"] == "id-0").unwrap();
    let message = first["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("line 2901: ") && message.contains("of line 1;"), "{message}");
    // And all of that is known.
    let again = folder.run(&site, json!({})).await.unwrap();
    assert_eq!((again.progress.resumed, site.seen()), (3000, 2900));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_ends_the_job_and_what_is_settled_stands() {
    let site = Site::with(Way::H1, json!({ "latency": 5 }), json!({}));
    let lines: Vec<_> = (0..6000).map(|n| line(&format!("id-{n}"))).collect();
    let folder = Folder::new("changes", &lines.join("\n"));
    let change = async {
        while site.seen() == 0 {
            tokio::task::yield_now().await;
        }
        fs::write(folder.0.join("in.jsonl"), line("other")).unwrap();
    };
    let (ended, ()) = tokio::join!(folder.run(&site, json!({ "concurrency": 8 })), change);
    // What was read ahead may go on; then it is seen.
    assert!(ended.unwrap_err().message.contains("was changed while the job ran"));
    assert!(!folder.results("out.jsonl").is_empty());
}

#[tokio::test]
async fn an_empty_file_is_done_and_leaves_an_empty_output() {
    let site = Site::new(Way::H1);
    let folder = Folder::new("empty", "\n\n");
    let summary = folder.run(&site, json!({})).await.unwrap();
    assert_eq!((summary.status, summary.progress.total), ("done", 0));
    assert_eq!(fs::read(folder.0.join("out.jsonl")).unwrap(), b"");
    assert!(!folder.0.join("out.errors.jsonl").exists());
}
