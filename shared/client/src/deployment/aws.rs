//! The few calls of AWS that only look, each signed by hand: the SDKs of six more services would cost minutes of building.

use crate::{
    account::{Account, Signer, no_region},
    network::{self, Network},
    pauses::pauses,
    url::usable_url,
};
use jiff::Timestamp;
use portcullis_program::Failure;
use roxmltree::Document;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, rc::Rc, thread, time::Duration};
use ureq::{
    Agent,
    http::{Request, StatusCode, request::Builder},
};

/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// How often a call is tried that was throttled, or failed for no fault of ours.
const TRIES: u32 = 4;
/// How long to wait before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(200);

/// AWS in one region, as one person.
#[derive(Debug)]
pub struct Aws {
    account: Rc<Account>,
    region: String,
    agent: Agent,
}

/// Why something could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// Such as `AccessDeniedException`.
    pub code: String,
    message: String,
}

impl Unseen {
    /// Why, in words alone.
    pub fn of(why: &str) -> Self {
        Self { code: String::new(), message: why.to_owned() }
    }

    /// Were the keys refused?
    fn is_of_keys(&self) -> bool {
        const REFUSED: [&str; 4] =
            ["ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"];
        REFUSED.contains(&self.code.as_str())
    }

    /// Is there no such thing?
    pub fn is_missing(&self) -> bool {
        const QUEUES: [&str; 2] = ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"];
        self.code == "ResourceNotFoundException"
            || QUEUES.contains(&self.code.as_str())
            || self.code == "ValidationError" && self.message.contains("does not exist")
    }
}

/// What was seen, if it was.
pub type Looked<T> = Result<T, Unseen>;

/// A service that speaks JSON with a header for the call.
#[derive(Debug, Clone, Copy)]
pub enum Service {
    CloudWatch,
    DynamoDb,
    EventBridge,
    Sqs,
}

/// A stack, as CloudFormation has it.
#[derive(Debug, Default)]
pub struct Stack {
    pub status: String,
    pub parameters: BTreeMap<String, String>,
    pub outputs: BTreeMap<String, String>,
}

impl Aws {
    /// The one that this account is in.
    pub fn of(account: &Rc<Account>) -> Result<Self, Failure> {
        let region = account.region().ok_or_else(no_region)?.to_owned();
        let there = usable_url(&endpoint(account, &region, "monitoring"))?;
        let network = Network::to(&there, &network::roots(None)?)?;
        // What is signed goes nowhere else.
        let config = Agent::config_builder().max_redirects(0).http_status_as_error(false);
        let config = config.timeout_global(Some(CALL_MAX)).tls_config(network.tls).proxy(network.proxy);
        Ok(Self { account: Rc::clone(account), region, agent: config.build().into() })
    }

    /// Which region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A call of a service that speaks JSON.
    pub fn call(&self, service: Service, call: &str, with: &Value) -> Looked<Value> {
        let (host, prefix, version) = match service {
            Service::CloudWatch => ("monitoring", "GraniteServiceVersion20100801", "1.0"),
            Service::DynamoDb => ("dynamodb", "DynamoDB_20120810", "1.0"),
            Service::EventBridge => ("events", "AWSEvents", "1.1"),
            Service::Sqs => ("sqs", "AmazonSQS", "1.0"),
        };
        let request = Request::post(format!("{}/", self.endpoint(host)))
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-target", format!("{prefix}.{call}"));
        json(&self.answer(host, request, &with.to_string())?)
    }

    /// A look at what Lambda has at a path.
    pub fn lambda(&self, path: &str) -> Looked<Value> {
        let request = Request::get(format!("{}{path}", self.endpoint("lambda")));
        json(&self.answer("lambda", request, "")?)
    }

    /// The stack of this name.
    pub fn stack(&self, name: &str) -> Looked<Stack> {
        const SERVICE: &str = "cloudformation";
        let request = Request::post(format!("{}/", self.endpoint(SERVICE)))
            .header("content-type", "application/x-www-form-urlencoded");
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let body = format!("Action=DescribeStacks&Version=2010-05-15&StackName={name}");
        stack(&self.answer(SERVICE, request, &body)?)
    }

    fn endpoint(&self, host: &str) -> String {
        endpoint(&self.account, &self.region, host)
    }

    fn answer(&self, service: &str, request: Builder, body: &str) -> Looked<String> {
        let signer = Signer::with(&self.account, service, &self.region);
        let request = request.body(body.to_owned()).map_err(|error| unseen("an unusable request", &error))?;
        match self.tried(&signer, &request) {
            // Keys may be refused before their end; the tools of AWS may have others by now.
            Err(refused) if refused.is_of_keys() && signer.renew(Timestamp::now()).is_ok_and(|it| it) => {
                self.tried(&signer, &request)
            }
            outcome => outcome,
        }
    }

    fn tried(&self, signer: &Signer, request: &Request<String>) -> Looked<String> {
        for pause in pauses(PAUSE, TRIES - 1) {
            match self.send(signer, request.clone()) {
                Ok((status, _, _)) if is_passing(status) => {}
                Ok((status, kind, body)) => return judged(status, kind, body),
                Err(_) => {}
            }
            thread::sleep(pause);
        }
        let (status, kind, body) = self.send(signer, request.clone())?;
        judged(status, kind, body)
    }

    /// The status, what a header calls the error, and the body.
    fn send(
        &self,
        signer: &Signer,
        request: Request<String>,
    ) -> Looked<(StatusCode, Option<String>, String)> {
        let request = signer.signed(request, Timestamp::now());
        let request = request.map_err(|failure| Unseen::of(failure.message()))?;
        // A body that is not there has no length either.
        let mut answer = if request.body().is_empty() {
            self.agent.run(request.map(drop))
        } else {
            self.agent.run(request)
        }
        .map_err(|error| unseen("no answer", &error))?;
        let body = answer.body_mut().read_to_string().map_err(|error| unseen("no answer", &error))?;
        let kind = answer.headers().get("x-amzn-errortype").and_then(|it| it.to_str().ok());
        Ok((answer.status(), kind.map(str::to_owned), body))
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code.as_str() {
            "" => f.write_str(&self.message),
            code => write!(f, "{code}: {}", self.message),
        }
    }
}

fn unseen(code: &str, why: &impl fmt::Display) -> Unseen {
    Unseen { code: code.to_owned(), message: why.to_string() }
}

/// Will it pass?
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

fn json(text: &str) -> Looked<Value> {
    serde_json::from_str(text).map_err(|error| unseen("an unexpected answer", &error))
}

/// An error is JSON or XML, and says its code in a header or in one of three ways in its body.
fn judged(status: StatusCode, kind: Option<String>, body: String) -> Looked<String> {
    if status.is_success() {
        return Ok(body);
    }
    let (code, why) = match (serde_json::from_str::<Value>(&body), Document::parse(&body)) {
        (Ok(value), _) => {
            let first =
                |names: &[&str]| names.iter().find_map(|it| Some(value.get(it)?.as_str()?.to_owned()));
            (first(&["__type", "Code"]), first(&["message", "Message"]))
        }
        (Err(_), Ok(document)) => {
            let text = |name: &str| {
                let found = document.descendants().find(|it| it.tag_name().name() == name)?;
                found.text().map(str::to_owned)
            };
            (text("Code"), text("Message"))
        }
        (Err(_), Err(_)) => (None, None),
    };
    // `namespace#Code`, or `Code:` and an address.
    let code = kind.or(code).map(|it| it.split(':').next().unwrap_or_default().to_owned());
    let code = code.map(|it| it.rsplit('#').next().unwrap_or_default().to_owned());
    let code = code.unwrap_or_else(|| status.to_string());
    Err(Unseen { code, message: why.unwrap_or_else(|| "without a reason".to_owned()) })
}

fn stack(text: &str) -> Looked<Stack> {
    let document = Document::parse(text).map_err(|error| unseen("an unexpected answer", &error))?;
    let named = |name: &'static str| document.descendants().filter(move |it| it.tag_name().name() == name);
    let child = |of: roxmltree::Node<'_, '_>, name: &str| {
        let found = of.children().find(|it| it.tag_name().name() == name)?;
        Some(found.text().unwrap_or_default().to_owned())
    };
    let pairs = |list: &'static str, key: &'static str, value: &'static str| {
        let members = named(list).flat_map(|it| it.children()).filter(roxmltree::Node::is_element);
        members.filter_map(|it| Some((child(it, key)?, child(it, value)?))).collect()
    };
    let status = named("StackStatus").find_map(|it| it.text()).unwrap_or_default().to_owned();
    Ok(Stack {
        status,
        parameters: pairs("Parameters", "ParameterKey", "ParameterValue"),
        outputs: pairs("Outputs", "OutputKey", "OutputValue"),
    })
}

/// Where a service is heard: <https://docs.aws.amazon.com/general/latest/gr/rande.html>
fn endpoint(account: &Account, region: &str, host: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match account.endpoint() {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None => format!("https://{host}.{region}.{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_read() {
        let text = r#"<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
          <DescribeStacksResult><Stacks><member><StackStatus>CREATE_COMPLETE</StackStatus>
          <Parameters><member><ParameterKey>Bots</ParameterKey><ParameterValue/></member></Parameters>
          <Outputs><member><OutputKey>Url</OutputKey><OutputValue>https://a</OutputValue></member>
          <member><OutputKey>TableName</OutputKey><OutputValue>t</OutputValue></member></Outputs>
          </member></Stacks></DescribeStacksResult></DescribeStacksResponse>"#;
        let stack = stack(text).expect("read");
        assert_eq!(stack.status, "CREATE_COMPLETE");
        assert_eq!(stack.parameters["Bots"], "");
        assert_eq!((stack.outputs["Url"].as_str(), stack.outputs["TableName"].as_str()), ("https://a", "t"));
    }

    #[test]
    fn an_error_is_read_in_every_dialect() {
        let told = |kind: Option<&str>, body: &str| {
            let kind = kind.map(str::to_owned);
            judged(StatusCode::BAD_REQUEST, kind, body.to_owned()).expect_err("refused")
        };
        let denied = told(None, r#"{"__type":"com.amazon#AccessDeniedException","Message":"no"}"#);
        assert_eq!(denied.to_string(), "AccessDeniedException: no");
        // As Lambda says it.
        let lambda = r#"{"Type":"User","Message":"no function"}"#;
        let missing = told(Some("ResourceNotFoundException:http://internal.amazon.com/"), lambda);
        assert_eq!(missing.to_string(), "ResourceNotFoundException: no function");
        assert!(missing.is_missing());
        let xml = "<E xmlns='x'><Error><Code>ValidationError</Code><Message>none</Message></Error></E>";
        assert_eq!(told(None, xml).to_string(), "ValidationError: none");
        assert_eq!(told(None, "<html>").to_string(), "400 Bad Request: without a reason");
    }
}
