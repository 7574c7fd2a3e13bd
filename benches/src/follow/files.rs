//! The files that the runs are made of: those of the junction, with a detector that takes 30 ms everywhere.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use jellybean_benches::failed;
use jellybean_engine::infrastructure::{Infrastructure, ServiceEntry};
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::profile::Profile;
use jellybean_engine::{Error, ErrorKind, Result};

/// What the detector takes for a frame, in milliseconds.
const DETECT_MS: u64 = 30;
/// The only variant, the default: what is chosen among is nodes.
const VARIANT: &str = "w8";
/// Wide enough that no link binds.
const MBIT_PER_S: f64 = 1_000.0;

/// Where cameras stand, and what they send at first.
const RATES: &str = "version = 1\n[[source]]\nname = \"cameras\"\nsite = \"junction\"\nrate_per_s = 30.0\n";
/// Steps are to be followed within seconds here, and runs are short.
const SETTINGS: &str = "rates_s = 1.5\nout_for_s = 0.5\noverload_for_s = 1.0\ncool_down_s = 15.0\n";

/// A folder of files that goes when this does.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn write() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("jellybean-follow-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(failed("no folder for the runs"))?;
        let files = Self(folder);
        files.put("infrastructure.toml", &toml(&infrastructure()?)?)?;
        files.put("profile.toml", &toml(&profile()?)?)?;
        files.put("rates.toml", RATES)?;
        files.put("settings.toml", SETTINGS)?;
        let detect = |node: &str, slots| Assignment::on(node).variant(VARIANT).slots(slots);
        files.put("narrow.toml", &toml(&Plan::single("edge").with("detect", detect("edge", 2)))?)?;
        files.put("wide.toml", &toml(&Plan::single("edge").with("detect", detect("cloud", 8)))?)?;
        Ok(files)
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    pub(super) fn infrastructure(&self) -> PathBuf {
        self.path("infrastructure.toml")
    }

    pub(super) fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// The detector beside the cameras.
    pub(super) fn narrow(&self) -> String {
        self.path("narrow.toml").display().to_string()
    }

    /// The detector in the cloud, which has room for every load.
    pub(super) fn wide(&self) -> String {
        self.path("wide.toml").display().to_string()
    }

    /// A load as a file.
    pub(super) fn trace(&self, load: &[(u64, u64)]) -> Result<PathBuf> {
        let rows: String = load.iter().map(|(second, rate)| format!("{second},cameras,{rate}\n")).collect();
        let last = load.last().map_or(0, |(second, _)| *second);
        let name = format!("load-{}-{last}.csv", load.first().map_or(0, |(_, rate)| *rate));
        self.put(&name, &format!("seconds,source,rate\n{rows}"))?;
        Ok(self.path(&name))
    }

    fn put(&self, file: &str, text: &str) -> Result<()> {
        std::fs::write(self.path(file), text).map_err(failed("a file for the runs cannot be written"))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays is in the folder for such things.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn infrastructure() -> Result<Infrastructure> {
    let mut infrastructure: Infrastructure =
        read(include_str!("../../../topologies/infrastructure/edge-cloud.toml"))?;
    infrastructure.links.iter_mut().for_each(|link| link.mbit_per_s = MBIT_PER_S);
    // Beside other runs of this machine.
    let free = |address: &mut SocketAddr| -> Result<TcpListener> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed("no port"))?;
        *address = listener.local_addr().map_err(failed("no port"))?;
        Ok(listener)
    };
    let nodes = infrastructure.nodes.iter_mut().map(|node| &mut node.listen);
    let taken: Result<Vec<TcpListener>> = nodes.chain([&mut infrastructure.controller]).map(free).collect();
    drop(taken?);
    let service = |node: &str| ServiceEntry {
        node: node.to_owned(),
        stage: "detect".to_owned(),
        variant: None,
        batch_us: 0,
        item_us: DETECT_MS * 1_000,
    };
    infrastructure.services = infrastructure.names().into_iter().map(service).collect();
    Ok(infrastructure)
}

fn profile() -> Result<Profile> {
    let mut profile: Profile =
        read(include_str!("../../../topologies/infrastructure/junction.profile.toml"))?;
    profile.accuracy = None;
    let detect = profile.stages.iter().find(|stage| stage.name == "detect");
    let k =
        detect.and_then(|detect| detect.variants.iter().position(|variant| variant == VARIANT)).unwrap_or(0);
    for edge in profile.edges.iter_mut().filter(|edge| edge.from == "detect") {
        let (items, kb) = edge.of_variant(k);
        (edge.items_per_item, edge.kb_per_item) = (vec![items], vec![kb]);
    }
    profile
        .stages
        .iter_mut()
        .filter(|s| s.name == "detect")
        .for_each(|s| s.variants = vec![VARIANT.to_owned()]);
    profile.services.retain(|row| row.stage != "detect" || row.variant == VARIANT);
    for row in profile.services.iter_mut().filter(|row| row.stage == "detect") {
        let ms = (u64::from(row.batch) * DETECT_MS) as f64;
        (row.p50_ms, row.p95_ms) = (ms, ms);
        row.items_per_s = 1e3 / DETECT_MS as f64;
    }
    Ok(profile)
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    ::toml::from_str(text)
        .map_err(|e| Error::new(ErrorKind::Invalid, "a file of the junction is not right").because(e))
}

fn toml(value: &impl serde::Serialize) -> Result<String> {
    ::toml::to_string(value).map_err(|e| Error::new(ErrorKind::Failed, "a file cannot be written").because(e))
}
