//! `portcullis demo`: the whole story in a few seconds, on a simulated Azure of its own.
//!
//! What is shown is what happens: everything goes over the API of a real `portcullis up`, and every
//! line about who gets through is asked of the firewalls.

use jiff::{SignedDuration, Timestamp};
use portcullis_client::{Connection, segment};
use portcullis_domain::{GrantState, TargetState};
use portcullis_host::up::{Args, Threads, Up};
use portcullis_program::{Failure, TOKEN_FILE, output::Paint};
use portcullis_wire::{
    AnswerView, ApproveBody, CheckView, EditBody, EnableBody, EntryView, GrantView, GuardedView, Listed,
    PageQuery, PlanView, TargetView, TokenBody, TokenMade, VerifyView,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// Where Ann and Bob are: two people behind one address. And somebody else.
const OFFICE: &str = "203.0.113.9";
const STRANGER: &str = "198.51.100.7";
/// How long the two leases are.
const SHORT: SignedDuration = SignedDuration::from_secs(3);
const LONG: SignedDuration = SignedDuration::from_secs(5);
/// How long to wait for anything, and how often to look.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Plays the story and prints what happens, when it happens.
pub fn run() -> Result<(), Failure> {
    let folder = Folder::make()?;
    let threads = Threads::start()?;
    let args = Args::for_demonstration();
    let up = threads.scheduler().block_on(Up::start(&folder.0, &args, threads.handles()))?;
    let url = format!("http://{}", up.address);
    let served = threads.scheduler().spawn(up.serve());
    let token = fs::read_to_string(folder.0.join(TOKEN_FILE));
    let token = token.map_err(|error| Failure::broken(format!("cannot read the token: {error}")))?;
    let operator = Connection::with(&url, token.trim())?;
    let outcome = Story::begin(operator, &url).and_then(Story::tell);
    served.abort();
    threads.stop();
    outcome
}

struct Story {
    began: Instant,
    paint: Paint,
    operator: Connection,
    ann: Connection,
    bob: Connection,
}

impl Story {
    fn begin(operator: Connection, url: &str) -> Result<Self, Failure> {
        let person = |name: &str| {
            let person = name.parse().map_err(|error| Failure::broken(format!("{error}")))?;
            let made: TokenMade = operator.post("/v1/tokens", Some(&TokenBody::of(person, None, None)))?;
            Connection::with(url, &made.token)
        };
        let (ann, bob) = (person("ann")?, person("bob")?);
        Ok(Self { began: Instant::now(), paint: Paint::of(io::stdout().is_terminal()), operator, ann, bob })
    }

    fn tell(self) -> Result<(), Failure> {
        line("A simulated Azure, faster than a real one. Each line is printed as it happens.\n");
        let web = self.discover()?;
        self.guard(&web)?;
        let (short, long) = self.ask(&web)?;
        self.expire(&web, &short, &long)?;
        self.approve(&web)?;
        self.prove(&web)?;
        line(&format!(
            "\nThe demonstration is over, and its cloud is gone. {}\n  portcullis up          serve a \
                simulated cloud that stays\n  \
             portcullis up --help   or guard your own machines: --guard azure, --guard host",
            self.paint.green("Next:")
        ));
        Ok(())
    }

    /// What there is, and what is open to the world.
    fn discover(&self) -> Result<TargetView, Failure> {
        let targets: Listed<TargetView> = self.operator.query("/v1/targets", &PageQuery::default())?;
        let count = |state: TargetState| targets.items.iter().filter(|it| it.state == state).count();
        self.at(&format!(
            "discovered: {} guarded, {} can be guarded, {} cannot, each with its reason",
            count(TargetState::Configured),
            count(TargetState::NotConfigured),
            count(TargetState::Unsupported),
        ));
        let web = targets.items.into_iter().find(|it| it.name == "web-1");
        let web = web.ok_or_else(|| Failure::broken("the fleet has no `web-1`"))?;
        for trouble in &web.troubles {
            self.at(&format!("web-1 is unhealthy: {trouble}"));
        }
        self.who(&web, &[OFFICE, STRANGER])?;
        Ok(web)
    }

    fn guard(&self, web: &TargetView) -> Result<(), Failure> {
        step("Guard a machine: its port is closed, except for leases");
        let plan: PlanView = self.operator.post(&path(&web.id, "plan"), Some(&EnableBody::default()))?;
        let shadowed: Vec<&str> = plan.gates.iter().flat_map(|it| &it.shadows).map(|it| short(it)).collect();
        self.at(&format!(
            "plan: {} to write, above `{}`",
            counted(plan.changes.len(), "rule"),
            shadowed.join("`, `")
        ));
        let _: GuardedView = self.operator.post(&path(&web.id, "enable"), Some(&EnableBody::default()))?;
        until("the lock", || Ok(!self.check(web, STRANGER)?.passes))?;
        self.at("enabled: port 22 is guarded");
        self.who(web, &[OFFICE, STRANGER])
    }

    /// Two people behind one address, one lease shorter than the other.
    fn ask(&self, web: &TargetView) -> Result<(GrantView, GrantView), Failure> {
        step("Request: two people behind one address");
        let refused = self
            .ann
            .post::<AnswerView>("/v1/requests", Some(&wish(web, SignedDuration::from_hours(9), "disk full")));
        if let Err(refusal) = refused {
            self.at(&format!("ann asks for 9 hours: {}", refusal.reasons().join(", ")));
        }
        let short = self.granted("ann", &self.ann, web, SHORT)?;
        let long = self.granted("bob", &self.bob, web, LONG)?;
        self.who(web, &[OFFICE, STRANGER])?;
        Ok((short, long))
    }

    fn granted(
        &self,
        name: &str,
        who: &Connection,
        web: &TargetView,
        length: SignedDuration,
    ) -> Result<GrantView, Failure> {
        let asked = Instant::now();
        let answer: AnswerView = who.post("/v1/requests", Some(&wish(web, length, "disk full")))?;
        let grant = answer.grants.into_iter().next().ok_or_else(|| Failure::broken("nothing was granted"))?;
        until("the change of the port", || Ok(self.grant(&grant)?.state == GrantState::Open))?;
        let took = asked.elapsed().as_millis();
        self.at(&format!("{name} asks for {length:#} from {OFFICE}: open after {took} ms"));
        Ok(grant)
    }

    /// The clock shuts: first for one of them, then for both.
    fn expire(&self, web: &TargetView, first: &GrantView, last: &GrantView) -> Result<(), Failure> {
        step("Wait: a lease closes on the clock, and its neighbour stays open");
        for (name, grant, others) in
            [("ann", first, "bob's lease is live"), ("bob", last, "no lease is live")]
        {
            until("the end of a lease", || Ok(self.grant(grant)?.state == GrantState::Closed))?;
            let closed = self.grant(grant)?;
            let late = closed.closed_at.map_or(SignedDuration::ZERO, |at| at.duration_since(closed.end));
            let proof = self.paint.green(&format!("confirmed closed {} ms after its end", late.as_millis()));
            self.at(&format!("{name}'s lease is over: {proof}; {others}"));
            self.who(web, &[OFFICE])?;
        }
        Ok(())
    }

    /// From now on somebody else has to say yes.
    fn approve(&self, web: &TargetView) -> Result<(), Failure> {
        step("Approve: from now on another person has to approve");
        let edit = json!({ "ports": [{ "port": 22, "approvers": ["*"] }] });
        let edit: EditBody =
            serde_json::from_value(edit).map_err(|error| Failure::broken(error.to_string()))?;
        let _: GuardedView = self.operator.post(&path(&web.id, "edit"), Some(&edit))?;
        let answer: AnswerView =
            self.ann.post("/v1/requests", Some(&wish(web, SignedDuration::from_mins(5), "still full")))?;
        let request = &answer.request;
        self.at(&format!("ann asks for 5m: {} until another person approves", request.state));
        let approve = format!("/v1/requests/{}/approve", segment(&request.id));
        let shown = ApproveBody { shown: request.shown.clone() };
        if let Err(refusal) = self.ann.post::<AnswerView>(&approve, Some(&shown)) {
            self.at(&format!("ann approves it herself: {}", refusal.reasons().join(", ")));
        }
        let answer: AnswerView = self.bob.post(&approve, Some(&shown))?;
        let grant = answer.grants.first().ok_or_else(|| Failure::broken("nothing was granted"))?;
        until("the change of the port", || Ok(self.grant(grant)?.state == GrantState::Open))?;
        self.at("bob approves what he was shown: open");
        let _: GrantView =
            self.ann.post(&format!("/v1/grants/{}/close", segment(&grant.id)), None::<&Value>)?;
        until("the change of the port", || Ok(self.grant(grant)?.state == GrantState::Closed))?;
        self.at("ann closes it early: closed");
        self.who(web, &[OFFICE])
    }

    /// What happened, and that nobody can change it unnoticed.
    fn prove(&self, web: &TargetView) -> Result<(), Failure> {
        step("Prove: every decision, write and read-back is in a hash chain");
        let entries: Listed<EntryView> =
            self.operator.query(&path(&web.id, "activity"), &PageQuery::default())?;
        let word = |it: &EntryView| it.fact["what"].as_str().unwrap_or_default().replace('_', " ");
        let last = entries.items.iter().rev().take(4).map(word).collect::<Vec<_>>();
        let last: Vec<String> = last.into_iter().rev().collect();
        self.at(&format!(
            "web-1 has {}, the last ones: {}",
            counted(entries.items.len(), "entry"),
            last.join(", ")
        ));
        let verified: VerifyView = self.operator.get("/v1/verify")?;
        let whole = if verified.whole { self.paint.green("whole") } else { self.paint.red("not whole") };
        self.at(&format!(
            "recomputed {} of {}: {whole}",
            counted_u64(verified.entries, "entry"),
            counted(verified.chains, "chain")
        ));
        Ok(())
    }

    /// Who gets through now, and which rule says so.
    fn who(&self, web: &TargetView, from: &[&str]) -> Result<(), Failure> {
        for from in from {
            let decision = self.check(web, from)?;
            let word =
                if decision.passes { self.paint.yellow("passes") } else { self.paint.green("is kept out") };
            line(&format!("           {from:<13} {word} by `{}`", decision.rule));
        }
        Ok(())
    }

    fn check(&self, web: &TargetView, from: &str) -> Result<CheckView, Failure> {
        self.operator.get(&format!("{}?port=22&from={from}", path(&web.id, "check")))
    }

    fn grant(&self, grant: &GrantView) -> Result<GrantView, Failure> {
        self.operator.get(&format!("/v1/grants/{}", segment(&grant.id)))
    }

    fn at(&self, what: &str) {
        let time = self.paint.dim(&format!("{:>6.1} s", self.began.elapsed().as_secs_f64()));
        line(&format!("{time}   {what}"));
    }
}

fn until(what: &str, is_so: impl Fn() -> Result<bool, Failure>) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < WAIT_MAX {
        if is_so()? {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(Failure::broken(format!("waited {WAIT_MAX:?} for {what}")))
}

fn step(title: &str) {
    line(&format!("\n{title}"));
}

fn line(line: &str) {
    // Whoever closed the pipe has heard enough.
    drop(writeln!(io::stdout(), "{line}"));
}

/// A wish of these demonstrations: SSH from the office.
fn wish(target: &TargetView, length: SignedDuration, why: &str) -> Value {
    let ask = json!({ "target": target.id, "port": 22, "for": length, "sources": [OFFICE] });
    json!({ "asks": [ask], "justification": why })
}

fn path(target: &str, what: &str) -> String {
    format!("/v1/targets/{}/{what}", segment(target))
}

/// The last part of an ARM id is what people call it.
fn short(id: &str) -> &str {
    id.split(" in ").next().unwrap_or(id)
}

fn counted(count: usize, thing: &str) -> String {
    counted_u64(u64::try_from(count).unwrap_or(u64::MAX), thing)
}

fn counted_u64(count: u64, thing: &str) -> String {
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {thing}s"),
    }
}

/// A folder that is gone when the story is over.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let name = format!("portcullis-demo-{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
        let path = std::env::temp_dir().join(name);
        let made = fs::create_dir(&path);
        made.map_err(|error| Failure::broken(format!("cannot make `{}`: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the folder for what may be lost.
        drop(fs::remove_dir_all(&self.0));
    }
}
