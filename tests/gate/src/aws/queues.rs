//! The queues of a deployment: what is in them, what goes through them, and what is told of them.

use super::{Ministack, Stack, stack::text};
use portcullis_tests::schemas::Schemas;
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    sync::atomic::{AtomicU32, Ordering},
};

/// How many messages a queue takes and gives at a time.
const BATCH_MAX: usize = 10;
/// Whose events Portcullis's are.
const SOURCE: &str = "portcullis";

impl Stack {
    /// Puts a message into one of the template's queues.
    pub fn send(&self, queue: &str, body: &str) {
        self.send_all(queue, &[body.to_owned()]);
    }

    /// Puts messages into one of the template's queues, as many at once as it takes.
    pub fn send_all(&self, queue: &str, bodies: &[String]) {
        let url = self.queue(queue);
        for part in bodies.chunks(BATCH_MAX) {
            let entry = |(n, body): (usize, &String)| json!({ "Id": n.to_string(), "MessageBody": body });
            let entries: Vec<Value> = part.iter().enumerate().map(entry).collect();
            let sent = json!({ "QueueUrl": url, "Entries": entries });
            let sent = self.aws.call("sqs", "send_message_batch", &sent).expect("sent");
            assert_eq!(sent["Failed"].as_array().map_or(0, Vec::len), 0, "{sent}");
        }
    }

    /// How many messages of one of the template's queues are to be had.
    pub fn visible(&self, queue: &str) -> u64 {
        self.attributes(queue)[VISIBLE].as_str().expect("text").parse().expect("a number")
    }

    /// Is nothing in it, and nobody at work on what was?
    pub fn is_drained(&self, queue: &str) -> bool {
        let attributes = self.attributes(queue);
        [VISIBLE, "ApproximateNumberOfMessagesNotVisible"].iter().all(|it| attributes[it] == "0")
    }

    /// How often a message is tried, as it is deployed.
    pub fn tries(&self, queue: &str) -> u64 {
        let policy = text(&self.attributes(queue)["RedrivePolicy"]);
        let policy: Value = serde_json::from_str(&policy).expect("JSON");
        policy["maxReceiveCount"].as_u64().expect("a number")
    }

    /// Hides a message for this long between its tries, from now on.
    pub fn hide_for(&self, queue: &str, secs: u64) {
        let hidden = json!({ "VisibilityTimeout": secs.to_string() });
        let set = json!({ "QueueUrl": self.queue(queue), "Attributes": hidden });
        self.aws.call("sqs", "set_queue_attributes", &set).expect("set");
    }

    /// Takes everything out of one of the template's queues.
    pub fn take(&self, queue: &str) -> Vec<String> {
        let mut taken = vec![];
        self.aws.drain(&self.queue(queue), |body| taken.push(body));
        taken
    }

    /// Would an alarm of the template go off, if what its metric counts were told to CloudWatch now? The
    /// emulator tells it nothing of queues, so its definition as it is deployed is held against the queue that
    /// it names.
    pub fn would_alarm(&self, alarm: &str) -> bool {
        let wanted = json!({ "AlarmNames": [Self::function(alarm)] });
        let found = self.aws.call("cloudwatch", "describe_alarms", &wanted).expect("described");
        let defined = &found["MetricAlarms"][0];
        assert_eq!(
            (&defined["Namespace"], &defined["MetricName"]),
            (&json!("AWS/SQS"), &json!(VISIBLE_METRIC))
        );
        assert_eq!((&defined["EvaluationPeriods"], &defined["Statistic"]), (&json!(1), &json!("Maximum")));
        let [dimension] = defined["Dimensions"].as_array().expect("dimensions").as_slice() else {
            panic!("not one dimension: {defined}");
        };
        assert_eq!(dimension["Name"], "QueueName");
        let url = self.queue_url(&text(&dimension["Value"]));
        let visible: f64 = text(&self.aws.attributes_at(&url)[VISIBLE]).parse().expect("a number");
        let threshold = defined["Threshold"].as_f64().expect("a number");
        match defined["ComparisonOperator"].as_str().expect("text") {
            "GreaterThanThreshold" => threshold < visible,
            "GreaterThanOrEqualToThreshold" => threshold <= visible,
            other => panic!("{other} is nothing to hold against a number of letters"),
        }
    }

    /// Hears everything that Portcullis tells from now on.
    pub fn listen(&self, name: &str) -> Ear<'_> {
        self.overhear(&format!("ear-{name}"), &of_ours())
    }

    /// Hears everything that comes to one of the template's queues from now on: the same messages, by the
    /// pattern of its rule as it is deployed.
    pub fn tap(&self, queue: &str) -> Ear<'_> {
        self.overhear(&format!("tap-{queue}"), &self.pattern(queue))
    }

    /// From now on everything that comes to one of the template's queues comes twice.
    pub fn double(&self, queue: &str) {
        let rule = format!("again-{queue}");
        self.aws.lead(self.output("BusName"), &rule, &self.pattern(queue), &self.queue(queue));
    }

    fn overhear(&self, name: &str, pattern: &str) -> Ear<'_> {
        let url = self.aws.make_queue(name);
        self.aws.lead(self.output("BusName"), name, pattern, &url);
        Ear { stack: self, url, heard: RefCell::default() }
    }

    fn pattern(&self, queue: &str) -> String {
        let rule = json!({ "Name": Self::function(queue), "EventBusName": self.output("BusName") });
        text(&self.aws.call("events", "describe_rule", &rule).expect("a rule")["EventPattern"])
    }

    fn queue(&self, name: &str) -> String {
        self.queue_url(&Self::function(name))
    }

    /// Where a queue of this name is heard.
    pub fn queue_url(&self, name: &str) -> String {
        let found = self.aws.call("sqs", "get_queue_url", &json!({ "QueueName": name })).expect("a queue");
        text(&found["QueueUrl"])
    }

    fn attributes(&self, queue: &str) -> Value {
        self.aws.attributes_at(&self.queue(queue))
    }
}

impl Ministack {
    /// A bus of its own, on which everything that Portcullis tells is heard from the beginning.
    pub fn bus(&self) -> HeardBus<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bus-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.call("events", "create_event_bus", &json!({ "Name": name })).expect("made");
        let url = self.make_queue(&format!("heard-{name}"));
        self.lead(&name, "everything", &of_ours(), &url);
        HeardBus { aws: self, name, url, heard: RefCell::default() }
    }

    fn make_queue(&self, name: &str) -> String {
        let made = self.call("sqs", "create_queue", &json!({ "QueueName": name })).expect("made");
        text(&made["QueueUrl"])
    }

    /// Leads events of a bus to a queue, by a rule of this name.
    fn lead(&self, bus: &str, name: &str, pattern: &str, url: &str) {
        let queue = self.attributes_at(url);
        let rule = json!({ "Name": name, "EventBusName": bus, "EventPattern": pattern });
        self.call("events", "put_rule", &rule).expect("made");
        let target = json!([{ "Id": "queue", "Arn": queue["QueueArn"] }]);
        let targets = json!({ "Rule": name, "EventBusName": bus, "Targets": target });
        self.call("events", "put_targets", &targets).expect("made");
    }

    fn attributes_at(&self, url: &str) -> Value {
        let wanted = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        self.call("sqs", "get_queue_attributes", &wanted).expect("a queue")["Attributes"].take()
    }

    fn drain(&self, url: &str, mut take: impl FnMut(String)) {
        loop {
            let wanted = json!({ "QueueUrl": url, "MaxNumberOfMessages": BATCH_MAX });
            let received = self.call("sqs", "receive_message", &wanted).expect("received");
            let Some(messages) = received["Messages"].as_array() else { return };
            for message in messages {
                take(text(&message["Body"]));
                let gone = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
                self.call("sqs", "delete_message", &gone).expect("deleted");
            }
        }
    }
}

/// What Portcullis tells, as the pattern of a rule.
fn of_ours() -> String {
    json!({ "source": [SOURCE] }).to_string()
}

/// How many messages are to be had, as a queue says it.
const VISIBLE: &str = "ApproximateNumberOfMessages";
/// And as CloudWatch is told it.
const VISIBLE_METRIC: &str = "ApproximateNumberOfMessagesVisible";

/// Who hears what is told.
#[derive(Debug)]
pub struct Ear<'s> {
    stack: &'s Stack,
    url: String,
    heard: RefCell<Vec<Value>>,
}

impl Ear<'_> {
    /// Waits for an event of this kind that fits, and gives it with its envelope.
    pub fn hear(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.stack.aws.wait(&format!("{kind} is heard, among {:?}", self.kinds()), |_| {
            let heard = self.heard();
            heard.into_iter().find(|it| it["detail-type"] == kind && fits(it))
        })
    }

    /// All that was heard until now, with its envelopes, in the order in which it came. What Portcullis tells is what
    /// `infra/events` says.
    pub fn heard(&self) -> Vec<Value> {
        let hear = |body: String| {
            let event: Value = serde_json::from_str(&body).expect("JSON");
            if event["source"] == SOURCE {
                Schemas::ours().hold(&text(&event["detail-type"]), &event["detail"]);
            }
            self.heard.borrow_mut().push(event);
        };
        self.stack.aws.drain(&self.url, hear);
        self.heard.borrow().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.heard.borrow().iter().map(|it| text(&it["detail-type"])).collect()
    }
}

/// A bus, and all that Portcullis told on it.
#[derive(Debug)]
pub struct HeardBus<'a> {
    aws: &'a Ministack,
    name: String,
    url: String,
    heard: RefCell<Vec<(String, Value)>>,
}

impl HeardBus<'_> {
    /// What the bus is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until so many events were heard; all of them, each with its kind.
    pub fn heard(&self, count: usize) -> Vec<(String, Value)> {
        self.aws.wait(&format!("{count} events are heard"), |aws| {
            let hear = |body: String| {
                let mut event: Value = serde_json::from_str(&body).expect("JSON");
                self.heard.borrow_mut().push((text(&event["detail-type"]), event["detail"].take()));
            };
            aws.drain(&self.url, hear);
            let heard = self.heard.borrow();
            (count <= heard.len()).then(|| heard.clone())
        })
    }
}
