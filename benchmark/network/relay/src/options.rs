//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// What the path does to packets, and what is run at its end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// `--round-trip MS`, default 0.
    pub(crate) round_trip: Duration,
    /// `--jitter MS`: so much more or less each way, at most half a round trip. Default 0.
    pub(crate) jitter: Duration,
    /// `--loss PERCENT` of the packets, each way. Default 0; here as a share.
    pub(crate) loss: f64,
    /// `--seed N` of losses and jitter. Default 0.
    pub(crate) seed: u64,
    /// `--stats FILE`: JSON with what was carried and lost, written at the end.
    pub(crate) stats: Option<PathBuf>,
    /// Behind `--`.
    pub(crate) command: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = args.next() {
            if name == "--" {
                options.command = args.collect();
                break;
            }
            let value = args.next().ok_or_else(|| format!("{name}: needs a value"))?;
            match name.as_str() {
                "--round-trip" => options.round_trip = millis(&name, &value)?,
                "--jitter" => options.jitter = millis(&name, &value)?,
                "--loss" => options.loss = share(&name, &value)?,
                "--seed" => {
                    options.seed =
                        value.parse().map_err(|_| format!("{name}: must be a whole number, got {value}"))?;
                }
                "--stats" => options.stats = Some(value.into()),
                _ => return Err(format!("{name}: there is no such option")),
            }
        }
        if options.jitter > options.round_trip / 2 {
            return Err("--jitter: must be at most half of --round-trip".to_owned());
        }
        match options.command.is_empty() {
            true => Err("there is no command: wan [OPTIONS] -- COMMAND [ARGUMENTS]".to_owned()),
            false => Ok(options),
        }
    }
}

fn millis(name: &str, value: &str) -> Result<Duration, String> {
    let wrong = || format!("{name}: must be milliseconds from 0 to 60000, got {value}");
    let millis: f64 = value.parse().map_err(|_| wrong())?;
    match (0.0..=60_000.0).contains(&millis) {
        true => Ok(Duration::from_secs_f64(millis / 1000.0)),
        false => Err(wrong()),
    }
}

fn share(name: &str, value: &str) -> Result<f64, String> {
    let wrong = || format!("{name}: must be a percentage from 0 to 100, got {value}");
    let percent: f64 = value.parse().map_err(|_| wrong())?;
    match (0.0..=100.0).contains(&percent) {
        true => Ok(percent / 100.0),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let options =
            parse("--round-trip 40 --jitter 2.5 --loss 1 --seed 7 --stats /x -- node --jitter").unwrap();
        assert_eq!(
            options,
            Options {
                round_trip: Duration::from_millis(40),
                jitter: Duration::from_micros(2500),
                loss: 0.01,
                seed: 7,
                stats: Some("/x".into()),
                command: vec!["node".to_owned(), "--jitter".to_owned()],
            }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        for (line, name) in [
            ("--round-trip -1 -- true", "--round-trip: must be"),
            ("--round-trip NaN -- true", "--round-trip: must be"),
            ("--loss 101 -- true", "--loss: must be"),
            ("--seed x -- true", "--seed: must be"),
            ("--round-trip 10 --jitter 6 -- true", "--jitter: must be at most half"),
            ("--delay 10 -- true", "--delay: there is no"),
            ("--loss", "--loss: needs"),
            ("--loss 1", "there is no command"),
        ] {
            let refusal = parse(line).unwrap_err();
            assert!(refusal.starts_with(name), "{line}: {refusal}");
        }
    }
}
