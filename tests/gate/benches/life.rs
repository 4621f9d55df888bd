//! What the life of one grant costs in AWS, and what ten thousand do: `cargo bench --workspace --bench
//! life`. It takes a quarter of an hour, since a lease has its looks, the last one five minutes after its end.
//!
//! The functions are those that are released, deployed from the template to an emulator, and guard a simulated
//! Azure. What they ask is counted on the wire. What that consumes DynamoDB Local says, where all of it is done
//! once more.

use jiff::Timestamp;
use portcullis_app::ports::Store as _;
use portcullis_aws::DynamoStore;
use portcullis_domain::{GrantId, Target, TargetId};
use portcullis_gate::aws::{Call, Stack, Table, Units, Wire, units};
use portcullis_tests::{
    azure::ANN,
    bill::{REQUESTS_PER_MESSAGE, Used},
    given::named,
    template::Template,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

const MACHINE: &str = "web-1";
/// How long the lease is: longer than until the last look at what opened it.
const LEASE: &str = "PT5M30S";
/// How long something is waited for: the last look is five minutes after a write.
const WAIT_MAX: Duration = Duration::from_secs(400);
const LOOK: Duration = Duration::from_millis(200);
/// How long nobody says anything until all is said.
const QUIET: Duration = Duration::from_secs(5);
/// How long the clock is watched at rest, between two looks: at least one of its minutes.
const REST: Duration = Duration::from_secs(90);
/// How far ahead the clock looks for what to hold.
const HORIZON: Duration = Duration::from_mins(2);
/// How many calls a life may take, of AWS and Azure together, without those that only wait.
const CALLS_MAX: usize = 100;

/// How many grants the bill is for, and over how long: a month.
const GRANTS: f64 = 10_000.0;
const MONTH_SECS: f64 = 30.0 * 86_400.0;
const MEMORY_GB: f64 = 0.25;
/// How long a function is taken to run, in seconds: an emulator cannot tell. `settle` and what it does for the
/// clock waits for Azure, which takes seconds for a rule.
const RUN_SECS: [(&str, f64); 4] = [("api", 0.1), ("relay", 0.05), ("settle", 10.0), ("submit", 0.1)];
/// How long the clock's function runs that never rests, each minute: it holds for two.
const HELD_SECS: f64 = 120.0;
/// And one that finds nothing to wait for.
const FOUND_NOTHING_SECS: f64 = 0.1;
/// What Lambda writes around each run, in bytes.
const LOGGED_PER_RUN: f64 = 300.0;
/// Others, by their own source code, as far as it tells: how many calls an approved request takes, and write
/// units.
const OTHERS: [(&str, &str, &str); 3] = [
    ("Common Fate", "about 40", "about 70"),
    ("TEAM", "about 78", "?"),
    ("sso-elevator", "30, and more with each user", "?"),
];

/// What a life is made of, and all of it.
const PHASES: [&str; 5] = ["ask, open", "two looks", "end, close", "two looks", "all"];

/// How much was said by then.
struct Mark {
    at: Instant,
    aws: usize,
    arm: usize,
    runs: BTreeMap<&'static str, usize>,
    logged: usize,
}

/// What the functions are run by, and what is counted of them.
struct Scene {
    stack: Stack,
    wire: Wire,
    table: DynamoStore,
    target: TargetId,
    runtime: tokio::runtime::Runtime,
}

fn main() {
    let wire = Wire::listen();
    let (stack, shadow) = (Stack::deploy_behind(&wire), Table::local());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let (table, target) = (stack.store(), stack.azure.machine(MACHINE));
    let scene = Scene { stack, wire, table, target, runtime };
    // What it does each quarter of an hour has nothing to do with a grant.
    let reconcile = json!({ "Name": Stack::function("reconcile") });
    scene.stack.aws.call("events", "disable_rule", &reconcile).expect("disabled");

    scene.stack.enable(MACHINE);
    scene.wait("the first look", |it| it.rests_for(REST + HORIZON));
    scene.quiet();
    let rest_from = scene.mark();
    thread::sleep(REST);
    let rest_to = scene.mark();
    // Else it would be one more look in the life of the grant.
    scene.wait("the last look at what enabling wrote", |it| it.target().due_at().is_none());
    scene.quiet();

    let mut marks = vec![scene.mark()];
    let grant = scene.stack.request(MACHINE, ANN, LEASE);
    let id: GrantId = named(&grant);
    scene.wait("it is open", |it| {
        it.stack.passes(MACHINE, ANN) && it.target().grants().values().any(|it| it.opened_at.is_some())
    });
    scene.quiet();
    marks.push(scene.mark());
    let end = scene.target().grants()[&id].lease.end();
    scene.wait("both looks", |it| it.target().due_at() == Some(end));
    scene.quiet();
    marks.push(scene.mark());
    let is_closed = |it: &Scene| {
        let grant = it.runtime.block_on(it.table.grant(&id)).expect("read").expect("is there");
        grant.closed_at.is_some()
    };
    scene.wait("it is closed", is_closed);
    assert!(!scene.stack.passes(MACHINE, ANN));
    scene.quiet();
    marks.push(scene.mark());
    scene.wait("both looks after it", |it| it.target().due_at().is_none());
    scene.quiet();
    marks.push(scene.mark());

    let calls = scene.wire.calls();
    let mut told = Told { scene: &scene, calls: &calls, units: vec![] };
    told.asked_for(&marks);
    told.units = units(&shadow, scene.stack.output("TableName"), &calls);
    told.consumed(&marks);
    told.bill(&marks, (&rest_from, &rest_to));
    let asked = told.asked(&marks[0], &marks[4]);
    assert!(asked <= CALLS_MAX, "a life took {asked} calls: at most {CALLS_MAX}");
}

impl Scene {
    /// As whoever owns the account, past the wire.
    fn target(&self) -> Target {
        self.runtime.block_on(self.table.target(&self.target)).expect("read").expect("is there").0
    }

    /// Is nothing due for so long?
    fn rests_for(&self, time: Duration) -> bool {
        self.target().due_at().is_some_and(|at| Timestamp::now() + time < at)
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < WAIT_MAX, "{what}: not within {WAIT_MAX:?}");
            thread::sleep(LOOK);
        }
    }

    /// Waits until all that has to do with it is done.
    fn quiet(&self) {
        let said = || self.wire.calls().iter().filter(|it| !is_clock(it)).count();
        let (mut last, mut since) = (said(), Instant::now());
        while since.elapsed() < QUIET {
            thread::sleep(LOOK);
            if said() != last {
                (last, since) = (said(), Instant::now());
            }
        }
    }

    fn mark(&self) -> Mark {
        let mut runs = BTreeMap::new();
        let mut logged = 0;
        for function in ["api", "expire", "relay", "settle", "submit"] {
            let lines = self.stack.aws.logged(&Stack::function(function));
            runs.insert(function, lines.iter().filter(|it| it.starts_with("START ")).count());
            logged += self
                .stack
                .aws
                .printed(&Stack::function(function))
                .iter()
                .map(|it| it.len() + 1)
                .sum::<usize>();
        }
        let (aws, arm) = (self.wire.calls().len(), self.stack.azure.cloud.calls().len());
        Mark { at: Instant::now(), aws, arm, runs, logged }
    }
}

/// Does it only look at what is due?
fn is_clock(call: &Call) -> bool {
    let partition = call.with["ExpressionAttributeValues"][":pk"]["S"].as_str();
    // The feed stands in the same index.
    call.operation == "Query" && partition.is_some_and(|it| it.starts_with("due#"))
}

/// A line of what is told for each phase, and for all of them.
fn row(what: &str, marks: &[Mark], of: impl Fn(&Mark, &Mark) -> String) {
    print!("{what:<34}");
    let phases = marks.windows(2).map(|it| (&it[0], &it[1]));
    for (from, to) in phases.chain([(&marks[0], &marks[marks.len() - 1])]) {
        print!(" {:>10}", of(from, to));
    }
    println!();
}

/// What is told of it.
struct Told<'s> {
    scene: &'s Scene,
    calls: &'s [Call],
    /// For each of them, once that is known.
    units: Vec<Units>,
}

impl Told<'_> {
    /// What was asked of the table between two marks: how often, with what units.
    fn count(&self, span: Range<usize>, is_it: impl Fn(&Call) -> bool) -> (usize, Units) {
        let these = span.filter(|n| is_it(&self.calls[*n]));
        these.fold((0, Units::default()), |(count, all), n| {
            let it = self.units.get(n).copied().unwrap_or_default();
            let all = Units {
                read: all.read + it.read,
                written: all.written + it.written,
                indexes: all.indexes + it.indexes,
            };
            (count + 1, all)
        })
    }

    /// How many calls there were, without those of the clock.
    fn asked(&self, from: &Mark, to: &Mark) -> usize {
        self.count(from.aws..to.aws, |it| !is_clock(it)).0 + to.arm - from.arm
    }

    /// The events that were put on the bus, by what they are.
    fn events(&self, from: &Mark, to: &Mark) -> Vec<String> {
        let put = self.calls[from.aws..to.aws].iter().filter(|it| it.operation == "PutEvents");
        let entries = put.flat_map(|it| it.with["Entries"].as_array().cloned().unwrap_or_default());
        entries.map(|it| it["DetailType"].as_str().expect("a kind").to_owned()).collect()
    }

    fn asked_for(&self, marks: &[Mark]) {
        println!("the life of one grant, counted on the wire");
        print!("{:<34}", "");
        for phase in PHASES {
            print!(" {phase:>10}");
        }
        println!();
        let calls = |is_it: fn(&Call) -> bool| {
            move |from: &Mark, to: &Mark| self.count(from.aws..to.aws, is_it).0.to_string()
        };
        row("calls of AWS and Azure", marks, |from, to| self.asked(from, to).to_string());
        let is_read = |it: &Call| it.service == "dynamodb" && !is_write(it) && !is_clock(it);
        row("  DynamoDB: reads", marks, calls(is_read));
        row("  DynamoDB: writes", marks, calls(is_write));
        row("  EventBridge: PutEvents", marks, calls(|it| it.operation == "PutEvents"));
        let arm = |is_write: bool| {
            move |from: &Mark, to: &Mark| {
                let calls = self.scene.stack.azure.cloud.calls();
                let these = calls[from.arm..to.arm].iter();
                let these = these.filter(|it| (it.method == "PUT" || it.method == "DELETE") == is_write);
                these.count().to_string()
            }
        };
        row("  Azure: reads", marks, arm(false));
        row("  Azure: writes", marks, arm(true));
        row("events", marks, |from, to| self.events(from, to).len().to_string());
        row("functions run, without the clock's", marks, |from, to| {
            let run = to.runs.iter().filter(|(name, _)| **name != "expire");
            run.map(|(name, count)| count - from.runs[name]).sum::<usize>().to_string()
        });
        row("looks of the clock at its index", marks, calls(is_clock));
    }

    fn consumed(&self, marks: &[Mark]) {
        let units = |of: fn(&Units) -> f64| {
            move |from: &Mark, to: &Mark| {
                format!("{:.1}", of(&self.count(from.aws..to.aws, |it| !is_clock(it)).1))
            }
        };
        row("read units", marks, units(|it| it.read));
        row("write units", marks, units(|it| it.written));
        row("  of those for indexes", marks, units(|it| it.indexes));
        println!("\nothers, for an approved request, by their source code");
        println!("{:<34} {:>28} {:>14}", "", "calls", "write units");
        for (name, calls, units) in OTHERS {
            println!("{name:<34} {calls:>28} {units:>14}");
        }
    }

    fn bill(&self, marks: &[Mark], (rest_from, rest_to): (&Mark, &Mark)) {
        let (from, to) = (&marks[0], &marks[4]);
        let (_, units) = self.count(from.aws..to.aws, |it| !is_clock(it));
        let runs = |name: &str| number(to.runs[name] - from.runs[name]);
        let wakes = Template::read();
        let wakes = &wakes.properties("SettleRule")["EventPattern"]["detail-type"];
        let wakes: Vec<&str> = wakes.as_array().expect("kinds").iter().filter_map(Value::as_str).collect();
        let events = self.events(from, to);
        let messages = events.iter().filter(|it| wakes.contains(&it.as_str())).count();
        let life = Used {
            written: units.written,
            read: units.read,
            invocations: RUN_SECS.iter().map(|(name, _)| runs(name)).sum(),
            gb_seconds: RUN_SECS.iter().map(|(name, secs)| runs(name) * secs * MEMORY_GB).sum(),
            events: number(events.len()),
            queue_requests: number(messages) * REQUESTS_PER_MESSAGE,
            http_requests: runs("api"),
            logged: number(to.logged - from.logged)
                + RUN_SECS.iter().map(|(name, _)| runs(name) * LOGGED_PER_RUN).sum::<f64>(),
        };
        // What ends at some other time each is held for one after the other: then the clock never rests.
        let held = (&marks[2], &marks[3]);
        let a_month = |(from, to): (&Mark, &Mark), run_secs: f64| {
            let share = MONTH_SECS / to.at.duration_since(from.at).as_secs_f64();
            let minutes = MONTH_SECS / 60.0;
            Used {
                read: self.count(from.aws..to.aws, is_clock).1.read * share,
                invocations: minutes,
                gb_seconds: minutes * run_secs * MEMORY_GB,
                logged: minutes * LOGGED_PER_RUN,
                ..Used::default()
            }
        };
        let rest = a_month((rest_from, rest_to), FOUND_NOTHING_SECS);
        let busy = a_month(held, HELD_SECS);
        println!("\nthe bill at list prices, in dollars");
        println!(
            "{:<18} {:>14} {:>20} {:>20} {:>14}",
            "", "10,000 grants", "the clock, a month,", "the clock, a month,", "10,000 grants"
        );
        println!(
            "{:<18} {:>14} {:>20} {:>20} {:>14}",
            "", "themselves", "at rest", "never at rest", "and that"
        );
        let lines = life.bill(GRANTS).into_iter().zip(rest.bill(1.0)).zip(busy.bill(1.0));
        let mut sums = [0.0; 4];
        for (((service, life), (_, rest)), (_, busy)) in lines {
            let each = [life, rest, busy, life + busy];
            println!("{service:<18} {:>14.2} {:>20.2} {:>20.2} {:>14.2}", each[0], each[1], each[2], each[3]);
            sums.iter_mut().zip(each).for_each(|(sum, it)| *sum += it);
        }
        println!("{:<18} {:>14.2} {:>20.2} {:>20.2} {:>14.2}", "all", sums[0], sums[1], sums[2], sums[3]);
    }
}

fn is_write(call: &Call) -> bool {
    ["PutItem", "TransactWriteItems"].contains(&call.operation.as_str())
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn number(count: usize) -> f64 {
    count as f64
}
