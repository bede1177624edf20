//! Figures as others scrape them: Prometheus' text format 0.0.4, OpenMetrics 1.0, and a JSON for libraries that write these themselves.
//!
//! Written by hand: crates for it (`prometheus-client`, `prometheus`) each write one of the two formats, and want to own the counters, which are
//! here already.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::rows::Distribution;

/// Bytes of a label's value: no name that is left whole elsewhere has as many.
const LONGEST_VALUE: usize = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Prometheus,
    OpenMetrics,
    /// Names, types and values, for libraries that write the text themselves.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Some families of figures, each with the same labels beside its own.
#[derive(Debug, Default)]
pub struct Families {
    labels: Vec<(String, String)>,
    all: Vec<Family>,
}

/// Figures of one name.
#[derive(Debug)]
pub struct Family {
    /// Without the `_total` of counters.
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    /// `_bucket`, `_sum`, `_count`, or nothing.
    suffix: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

/// Units that names end with.
const UNITS: [&str; 3] = ["seconds", "bytes", "dollars"];

impl Families {
    /// With labels that all figures have.
    pub fn new(labels: Vec<(String, String)>) -> Self {
        Self { labels, all: Vec::with_capacity(64) }
    }

    /// What only grows. `name`: without `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Counter, help)
    }

    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Gauge, help)
    }

    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Histogram, help)
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        let at = self.all.len();
        self.all.push(Family { name, kind, help, samples: Vec::new() });
        &mut self.all[at]
    }

    pub fn encode(&self, format: Format) -> String {
        match format {
            Format::Prometheus => self.text(false),
            Format::OpenMetrics => self.text(true),
            Format::Json => self.json(),
        }
    }

    fn text(&self, is_open: bool) -> String {
        let mut text = String::with_capacity(16 * 1024);
        for family in &self.all {
            family.write(&mut text, &self.labels, is_open);
        }
        if is_open {
            text.push_str("# EOF\n");
        }
        text
    }

    /// `[{"name":…,"type":…,"help":…,"values":[{"metricName":…,"labels":{…},"value":1},…]},…]`, names as Prometheus' text has them.
    fn json(&self) -> String {
        let families = self.all.iter().map(|family| {
            let name = family.full_name();
            let samples = family.samples.iter().map(|sample| {
                let own = sample.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
                let labels = self.labels.iter().cloned().chain(own);
                let labels: serde_json::Map<_, _> = labels.map(|(k, v)| (k, Value::from(v))).collect();
                let mut value = serde_json::json!({ "labels": labels, "value": sample.value });
                if !sample.suffix.is_empty() {
                    value["metricName"] = format!("{name}{}", sample.suffix).into();
                }
                value
            });
            let values: Vec<_> = samples.collect();
            serde_json::json!({ "name": name, "type": family.kind, "help": family.help, "values": values })
        });
        Value::Array(families.collect()).to_string()
    }
}

impl Family {
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.push("", labels, None, value);
    }

    pub fn distribution(&mut self, labels: &[(&'static str, &str)], of: &Distribution) {
        for (bound, count) in &of.within {
            self.push("_bucket", labels, Some(number(*bound, true)), *count as f64);
        }
        self.push("_bucket", labels, Some("+Inf".to_owned()), of.count as f64);
        self.push("_sum", labels, None, of.sum);
        self.push("_count", labels, None, of.count as f64);
    }

    fn push(
        &mut self,
        suffix: &'static str,
        labels: &[(&'static str, &str)],
        le: Option<String>,
        value: f64,
    ) {
        let labels = labels.iter().map(|(name, value)| (*name, cut(value).to_owned()));
        let labels = labels.chain(le.map(|le| ("le", le))).collect();
        self.samples.push(Sample { suffix, labels, value });
    }

    fn full_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }

    fn write(&self, text: &mut String, shared: &[(String, String)], is_open: bool) {
        let (Self { name, kind, help, .. }, full) = (self, self.full_name());
        let family = if is_open { name } else { &*full };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {family} {help}");
        let _ = writeln!(text, "# TYPE {family} {kind}");
        if let Some(unit) = UNITS.iter().find(|unit| is_open && name.ends_with(*unit)) {
            let _ = writeln!(text, "# UNIT {family} {unit}");
        }
        for Sample { suffix, labels, value } in &self.samples {
            let _ = write!(text, "{full}{suffix}");
            let shared = shared.iter().map(|(name, value)| (&**name, value));
            let mut before = '{';
            for (name, value) in shared.chain(labels.iter().map(|(name, value)| (*name, value))) {
                let _ = write!(text, "{before}{name}=\"");
                escape(text, value);
                text.push('"');
                before = ',';
            }
            if before == ',' {
                text.push('}');
            }
            let _ = writeln!(text, " {}", number(*value, false));
        }
    }
}

/// As both formats read it. `is_float`: bounds are always written as such, so that a series is the same in both.
fn number(value: f64, is_float: bool) -> String {
    let text = value.to_string();
    if is_float && !text.contains('.') { format!("{text}.0") } else { text }
}

fn escape(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            char => text.push(char),
        }
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(LONGEST_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Families {
        let mut families = Families::new(vec![("service".into(), "a\\b".into())]);
        families.counter("x_seconds", "Time.").add(&[("model", "say \"hi\"\n")], 1.5);
        families.gauge("y", "Things.").add(&[], 3.0);
        let of = Distribution { within: vec![(0.5, 1), (1.0, 2)], count: 3, sum: 7.25 };
        families.histogram("z", "Spread.").distribution(&[], &of);
        families
    }

    #[test]
    fn prometheus_text_escapes_labels_and_counts_buckets_upwards() {
        let expected = [
            "# HELP x_seconds_total Time.",
            "# TYPE x_seconds_total counter",
            r#"x_seconds_total{service="a\\b",model="say \"hi\"\n"} 1.5"#,
            "# HELP y Things.",
            "# TYPE y gauge",
            r#"y{service="a\\b"} 3"#,
            "# HELP z Spread.",
            "# TYPE z histogram",
            r#"z_bucket{service="a\\b",le="0.5"} 1"#,
            r#"z_bucket{service="a\\b",le="1.0"} 2"#,
            r#"z_bucket{service="a\\b",le="+Inf"} 3"#,
            r#"z_sum{service="a\\b"} 7.25"#,
            r#"z_count{service="a\\b"} 3"#,
            "",
        ];
        assert_eq!(families().encode(Format::Prometheus), expected.join("\n"));
    }

    #[test]
    fn openmetrics_names_a_counter_without_its_total_has_units_and_an_end() {
        let text = families().encode(Format::OpenMetrics);
        let begin =
            "# HELP x_seconds Time.\n# TYPE x_seconds counter\n# UNIT x_seconds seconds\nx_seconds_total{";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn json_has_the_names_of_the_text() {
        let json: Value = serde_json::from_str(&families().encode(Format::Json)).unwrap();
        assert_eq!(json[0]["name"], "x_seconds_total");
        assert_eq!(json[2]["values"][2]["metricName"], "z_bucket");
        assert_eq!(json[2]["values"][2]["labels"]["le"], "+Inf");
        assert_eq!(json[0]["values"][0]["labels"]["model"], "say \"hi\"\n");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(10_000)).len(), LONGEST_VALUE);
        assert_eq!(cut(&format!("a{}", "é".repeat(10_000))).len(), LONGEST_VALUE - 1);
    }
}
