//! A simulated Azure over HTTPS, in the process of the test, and the real program that guards it.
//!
//! The packet oracle is then outside of the program: load on the program delays its own writes, and never the
//! observation of them.

use crate::binary::Up;
use jiff::Timestamp;
use portcullis_simcloud::{
    Faults, Lock, LockLevel, Packet, PacketProtocol, Restrictions, Simcloud, Tls, serve,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};
use tokio::{net::TcpListener, sync::oneshot};

/// The port that is guarded on every machine.
pub const PORT: u16 = 22;
/// The seed of every fleet here.
const SEED: u64 = 1;

/// The cloud, until it is dropped.
#[derive(Debug)]
pub struct RemoteAzure {
    /// The cloud itself.
    pub cloud: Arc<Simcloud>,
    url: String,
    certificate: PathBuf,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl RemoteAzure {
    /// Machines `vm-000` and so on, spread over so many security groups; writes take 200 ms.
    pub fn farm(groups: u16, machines_per_group: u16) -> Self {
        let cloud = Simcloud::farm(SEED, Arc::new(Timestamp::now), groups, machines_per_group);
        let cloud = Arc::new(cloud);
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = folder.path().join("azure.pem");
        fs::write(&certificate, made.cert.pem()).expect("written");
        let tls = Tls::of(made.cert.der().to_vec(), made.signing_key.serialize_der()).expect("serves");
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, port) = mpsc::channel();
        let served = Arc::clone(&cloud);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
                bound.send(listener.local_addr().expect("an address").port()).expect("the test waits");
                let stop = async { drop(stopped.await) };
                serve(served, listener, Some(tls), stop).await.expect("serves");
            });
        });
        let url = format!("https://localhost:{}", port.recv().expect("it listens"));
        let azure = Self { cloud, url, certificate, _folder: folder, _stop: stop };
        azure.quick();
        azure
    }

    /// A cloud faster than any real one: a write takes 200 ms.
    pub fn quick(&self) {
        self.plan(&json!({}));
    }

    /// An ordinary Azure: a write takes 2 s, asks to be polled after 10 s, and is the only one on its group.
    pub fn ordinary(&self) {
        self.plan(
            &json!({ "operation_millis": 2000, "retry_after_secs": 10, "one_operation_at_a_time": true }),
        );
    }

    /// How the cloud behaves from now on; fields that are not given are those of a quick cloud.
    pub fn plan(&self, faults: &Value) {
        let mut plan = json!({
            "operation_millis": 200, "retry_after_secs": 0, "one_operation_at_a_time": false,
            "reads_remaining": 1_000_000, "writes_remaining": 1_000_000,
        });
        for (name, value) in faults.as_object().expect("an object") {
            plan[name.as_str()] = value.clone();
        }
        let faults: Faults = serde_json::from_value(plan).expect("faults that the cloud knows");
        self.cloud.plan(faults);
    }

    /// A lock forbids to delete anything.
    pub fn forbid_deletion(&self) {
        let scope = format!("/subscriptions/{}/resourceGroups/demo", self.cloud.subscription());
        let lock = Lock { name: "keep".to_owned(), scope, level: LockLevel::CanNotDelete };
        self.cloud.restrict(Restrictions { locks: vec![lock], ..Restrictions::default() });
    }

    /// The real program guards this cloud; `within` is put before the command.
    pub fn up(&self, data: &Path, options: &[&str], within: &[&str]) -> Up {
        let (tenant, certificate) = (self.cloud.tenant(), self.certificate.display().to_string());
        let own = [
            "--guard",
            "azure",
            "--azure-arm",
            &self.url,
            "--azure-authority",
            &self.url,
            "--azure-audience",
            &self.url,
            "--azure-ca",
            &certificate,
            "--azure-login",
            "client-secret",
            "--azure-tenant",
            &tenant,
            "--azure-client",
            "portcullis",
            "--lease-min",
            "1s",
        ];
        let within = [within, &["env", "AZURE_CLIENT_SECRET=of-the-test"]].concat();
        Up::start(data, &[&own, options].concat(), &within)
    }

    /// The id of a machine, by its number.
    pub fn target(&self, machine: usize) -> String {
        let subscription = self.cloud.subscription();
        let name = name(machine);
        format!(
            "/subscriptions/{subscription}/resourcegroups/demo/providers/microsoft.compute/virtualmachines/{name}"
        )
    }

    /// Whether a packet from an address reaches the guarded port of a machine, by the cloud's own truth.
    pub fn passes(&self, machine: usize, from: &str) -> bool {
        let packet =
            Packet { from: from.parse().expect("an address"), protocol: PacketProtocol::Tcp, port: PORT };
        self.cloud.passes(&name(machine), packet).expect("a machine of the fleet").passes
    }
}

/// The name of a machine, by its number.
fn name(machine: usize) -> String {
    format!("vm-{machine:03}")
}
