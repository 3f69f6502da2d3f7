//! The arrows of the house (docs/ARCHITECTURE.md), checked against what Cargo says.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which of our crates each crate may link. Tests (dev-dependencies) may use any.
const ALLOWED: &[(&str, &[&str])] = &[
    ("agentnet-proto", &[]),
    ("agentnet-store", &["agentnet-proto"]),
    ("agentnet-service", &["agentnet-proto"]),
    ("agentnet", &["agentnet-proto"]),
    ("agentnet-local", &[]),
    ("agentnet-registry", &["agentnet-proto", "agentnet-store", "agentnet-service"]),
    ("agentnet-persister", &["agentnet-proto", "agentnet-store", "agentnet-service"]),
    ("agentnet-gateway", &["agentnet", "agentnet-proto", "agentnet-service"]),
    (
        "agentnet-cli",
        &[
            "agentnet",
            "agentnet-gateway",
            "agentnet-proto",
            "agentnet-local",
            "agentnet-service",
            "agentnet-registry",
            "agentnet-persister",
        ],
    ),
    ("agentnet-examples", &["agentnet", "agentnet-proto"]),
];

/// Never imported by anything: it sees everything.
const SEES_ALL: &str = "agentnet-e2e";

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let linked = package
                .dependencies
                .iter()
                .filter(|d| d.kind == DependencyKind::Normal)
                .map(|d| d.name.clone())
                .collect();
            (package.name.to_string(), linked)
        })
        .collect()
}

#[test]
fn crates_link_only_downwards() {
    let graph = normal_dependencies();
    let ours: BTreeSet<&str> = graph.keys().map(String::as_str).collect();
    for (name, linked) in &graph {
        if name == SEES_ALL {
            continue;
        }
        let allowed = ALLOWED
            .iter()
            .find(|(n, _)| n == name)
            .unwrap_or_else(|| panic!("{name} is new: say in ALLOWED what it may link"))
            .1;
        for dependency in linked.iter().filter(|d| ours.contains(d.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not link {dependency}");
        }
    }
}

#[test]
fn the_wire_types_need_no_runtime() {
    let graph = normal_dependencies();
    for runtime in ["tokio", "async-nats", "sqlx", "axum"] {
        assert!(!graph["agentnet-proto"].contains(runtime), "agentnet-proto must not link {runtime}");
    }
    for name in ["agentnet", "agentnet-gateway", "agentnet-cli", "agentnet-examples"] {
        assert!(!graph[name].contains("sqlx"), "{name} must reach Postgres through the services only");
    }
}

#[test]
fn versions_are_said_once() {
    let manifests = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    for package in &manifests.packages {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        let mut in_dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.trim_start().starts_with('#') {
                assert!(
                    line.contains("workspace"),
                    "{}: `{line}` belongs in [workspace.dependencies]",
                    package.name
                );
            }
        }
    }
}

/// The tests that docs/DURABILITY.md names are there.
#[test]
fn the_named_tests_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/DURABILITY.md")).unwrap();
    let named: Vec<&str> = page.split('`').filter(|word| word.contains("::") && word.contains('/')).collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        let (krate, rest) = name.split_once('/').unwrap();
        let (file, test) = rest.split_once("::").unwrap();
        let homes = ["crates", "services"].map(|home| root.join(home).join(krate).join("tests"));
        let files =
            homes.iter().flat_map(|dir| [dir.join(format!("{file}.rs")), dir.join(file).join("main.rs")]);
        let found = files.filter_map(|path| fs::read_to_string(path).ok());
        let declared = format!("fn {test}(");
        assert!(found.into_iter().any(|text| text.contains(&declared)), "{name} doesn't exist");
    }
}

/// The tests that the attack tables of docs/SECURITY.md name are there, in the file that is named beside them.
#[test]
fn the_tests_against_attacks_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let (sources, mut named) = (files(&root), 0);
    let mut in_attacks = false;
    for line in page.lines() {
        in_attacks = line.starts_with("| attack |") || in_attacks && line.starts_with('|');
        if !in_attacks || line.starts_with("|--") || line.starts_with("| attack |") {
            continue;
        }
        let cell = line.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap();
        let mut file = None;
        for word in cell.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = Some(word);
            } else if word.contains('_') {
                named += 1;
                let declared = format!("fn {word}(");
                // `registry/tests/users.rs` stands below `services/`, and a file alone below some `tests/`.
                let is_there = sources.iter().any(|(path, text)| {
                    text.contains(&declared)
                        && file.is_none_or(|file| {
                            path.ends_with(&format!("/{file}"))
                                || path.ends_with(&format!("/agentnet-{file}"))
                        })
                });
                assert!(is_there, "{word} isn't there: {line}");
            }
        }
        assert!(cell.contains('`') || cell.contains("same") || cell.contains("both of the above"), "{line}");
    }
    assert!(named > 100, "{named}");
}

/// The Rust names that docs/AGENTCP.md maps AgentCP's calls to are in the client crate.
#[test]
fn what_agentcp_is_mapped_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/AGENTCP.md")).unwrap();
    let source =
        sources(&root.join("crates/agentnet/src")) + &sources(&root.join("crates/agentnet-proto/src"));
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| AgentCP"));
    // The column between the second and third bar; what is planned is named without being there.
    let column = rows.filter_map(|line| line.split(" | ").nth(1)).filter(|cell| !cell.contains("(planned)"));
    let named: Vec<&str> = column.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 60, "{named:?}");
    for name in named {
        let (home, item) = name.split_once("::").map_or((None, name), |(home, item)| (Some(home), item));
        let is_there = |item: &str| {
            ["fn ", "struct ", "enum "].iter().any(|kind| {
                let declared = |end| source.contains(&format!("{kind}{item}{end}"));
                declared("(") || declared("<") || declared(" ")
            })
        };
        // Types that a macro makes stand alone on a line.
        let is_made = |item: &str| source.contains(&format!("\n    {item},\n"));
        assert!(is_there(item) || is_made(item), "{name} doesn't exist");
        assert!(home.is_none_or(|home| is_there(home) || is_made(home)), "{name}: no such type");
    }
}

fn sources(dir: &Path) -> String {
    let mut found = Vec::new();
    collect(dir, &mut found);
    found.into_iter().map(|(_, text)| text).collect()
}

/// Path and text of every Rust file of the project.
fn files(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for home in ["crates", "services"] {
        collect(&root.join(home), &mut found);
    }
    found
}

fn collect(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}
