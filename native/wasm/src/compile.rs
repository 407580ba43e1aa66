//! From a component to an AOT file, and what a component wants and offers.
//!
//! Owns the checks that a person reads about. Never loads what it compiled. Compiling takes seconds of
//! CPU: callers run it in a process of its own, at low priority.

use crate::engine::compiler;
use crate::guest::linker;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::Component;

/// Largest file that is read as a component.
const SOURCE_MAX_BYTES: u64 = 256 << 20;
/// An AOT file is machine code that is run as it is: nobody else may write or read it.
const TARGET_MODE: u32 = 0o600;
const HANDLER: &str = "wasi:http/incoming-handler@0.2";
const MAGIC: &[u8] = b"\0asm";

/// Everything a guest may import, without the version's last number.
const PROVIDED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The interfaces of a component, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// What a component imports and exports. The error is a text for people: not a component at all, and
/// which kind of file it is instead.
pub fn inspect(source: &Path) -> Result<Interfaces, String> {
    interfaces(&read(source)?).map_err(|why| named(source, &why))
}

/// Compile a component to an AOT file for this CPU: written beside `target`, then renamed, mode 0600.
/// The error is a text for people.
pub fn compile(source: &Path, target: &Path) -> Result<(), String> {
    let bytes = read(source)?;
    let found = interfaces(&bytes).map_err(|why| named(source, &why))?;
    serves_http(&found).map_err(|why| named(source, &why))?;
    let code = translate(&bytes).map_err(|why| named(source, &why))?;
    write(target, &code)
        .map_err(|error| format!("{}: cannot be written: {error}", target.display()))
}

fn named(file: &Path, why: &str) -> String {
    format!("{}: {why}", file.display())
}

fn read(source: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| named(source, &format!("cannot be read: {error}"));
    let size = fs::metadata(source).map_err(cannot)?.len();
    if size > SOURCE_MAX_BYTES {
        return Err(named(
            source,
            &format!("{size} bytes are too many (at most {SOURCE_MAX_BYTES})"),
        ));
    }
    fs::read(source).map_err(cannot)
}

fn interfaces(bytes: &[u8]) -> Result<Interfaces, String> {
    if !bytes.starts_with(MAGIC) {
        let text = bytes.trim_ascii_start().starts_with(b"(");
        let hint = if text {
            " (it looks like text: translate it with `wasm-tools parse`)"
        } else {
            ""
        };
        return Err(format!("is not WebAssembly{hint}"));
    }
    let mut found = Interfaces::default();
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| format!("is damaged WebAssembly: {error}"))?;
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => {
                return Err("is a core WASM module, not a component: wrap it with \
                            `wasm-tools component new` (with --adapt if it uses WASI preview 1)"
                    .into());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            payload if depth == 0 => note(&mut found, payload)
                .map_err(|error| format!("is damaged WebAssembly: {error}"))?,
            _ => {}
        }
    }
    Ok(found)
}

fn note(found: &mut Interfaces, payload: Payload<'_>) -> wasmparser::Result<()> {
    match payload {
        Payload::ComponentImportSection(imports) => {
            for import in imports {
                found.imports.push(import?.name.name.to_string());
            }
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports {
                found.exports.push(export?.name.name.to_string());
            }
        }
        _ => {}
    }
    Ok(())
}

fn serves_http(found: &Interfaces) -> Result<(), String> {
    if !found.exports.iter().any(|name| name.starts_with(HANDLER)) {
        let command = found
            .exports
            .iter()
            .any(|name| name.starts_with("wasi:cli/run@"));
        let hint = if command {
            "it is a command (it exports wasi:cli/run)".to_string()
        } else {
            format!("it exports {}", listed(&found.exports))
        };
        return Err(format!("does not serve HTTP: no export {HANDLER}; {hint}"));
    }
    let unknown: Vec<_> = found
        .imports
        .iter()
        .filter(|name| !is_provided(name))
        .cloned()
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "imports what nothing here provides: {}",
        listed(&unknown)
    ))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".into()
    } else {
        names.join(", ")
    }
}

fn is_provided(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else {
        return false;
    };
    version.starts_with("0.2.") && PROVIDED.contains(&name)
}

fn translate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let engine = compiler().map_err(|error| format!("the compiler cannot start: {error:#}"))?;
    let component = Component::from_binary(&engine, bytes)
        .map_err(|error| format!("is not a valid component: {error:#}"))?;
    let linked = linker(&engine).and_then(|linker| linker.instantiate_pre(&component));
    linked.map_err(|error| format!("imports what nothing here provides: {error:#}"))?;
    component
        .serialize()
        .map_err(|error| format!("cannot be compiled: {error:#}"))
}

fn write(target: &Path, code: &[u8]) -> std::io::Result<()> {
    let beside = beside(target);
    let written = write_new(&beside, code).and_then(|()| fs::rename(&beside, target));
    if written.is_err() {
        // What failed is told; what is left of the attempt has no use.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_new(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(TARGET_MODE)
        .open(path)?;
    file.write_all(code)?;
    file.sync_all()
}

fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    target.with_file_name(name)
}

/// The target and the CPU features that compiled code may use, as one word that is safe in a file name.
/// It makes no engine (see the trap in `engine`): loading checks the rest.
pub fn cpu() -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    features().hash(&mut hasher);
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("{arch}-{os}-{:08x}", hasher.finish() >> 32)
}

/// What the compiler makes use of where the CPU has it.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<bool> {
    macro_rules! detected {
        ($($name:tt),*) => { vec![$(std::arch::is_x86_feature_detected!($name)),*] };
    }
    detected!(
        "sse3",
        "ssse3",
        "sse4.1",
        "sse4.2",
        "popcnt",
        "avx",
        "avx2",
        "fma",
        "bmi1",
        "bmi2",
        "lzcnt",
        "cmpxchg16b",
        "avx512bitalg",
        "avx512dq",
        "avx512f",
        "avx512vl",
        "avx512vbmi"
    )
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<bool> {
    macro_rules! detected {
        ($($name:tt),*) => { vec![$(std::arch::is_aarch64_feature_detected!($name)),*] };
    }
    detected!("lse", "paca", "pacg", "fp16", "dotprod")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<bool> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests/probe.wasm");

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("falak-compile-{}-{name}", std::process::id()))
    }

    fn refused(name: &str, bytes: &[u8]) -> String {
        let (source, target) = (scratch(name), scratch("never"));
        fs::write(&source, bytes).unwrap();
        let why = compile(&source, &target).unwrap_err();
        fs::remove_file(&source).unwrap();
        assert!(!target.exists());
        assert!(why.starts_with(&source.display().to_string()), "{why}");
        why
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert!(refused("empty", b"").contains("is not WebAssembly"));
        assert!(refused("text", b" (component)").contains("wasm-tools parse"));
        let module = refused("module", b"\0asm\x01\0\0\0");
        assert!(module.contains("core WASM module") && module.contains("wasm-tools component new"));
        assert!(refused("cut", b"\0asm\x0d\0\x01\0\x07\xff").contains("damaged"));
        assert!(
            refused("bare", b"\0asm\x0d\0\x01\0").contains("no export wasi:http/incoming-handler")
        );
        let why = compile(&scratch("absent"), &scratch("never")).unwrap_err();
        assert!(why.contains("cannot be read"), "{why}");
    }

    #[test]
    fn unknown_imports_are_named() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let exports = names(&["wasi:http/incoming-handler@0.2.3"]);
        let imports = names(&[
            "wasi:io/poll@0.2.1",
            "acme:kv/store@1.0.0",
            "wasi:io/poll@0.3.0",
            "env",
        ]);
        let why = serves_http(&Interfaces {
            imports,
            exports: exports.clone(),
        })
        .unwrap_err();
        assert!(
            why.ends_with("provides: acme:kv/store@1.0.0, wasi:io/poll@0.3.0, env"),
            "{why}"
        );
        let imports = names(&["wasi:io/poll@0.2.12"]);
        assert_eq!(serves_http(&Interfaces { imports, exports }), Ok(()));
        let exports = names(&["wasi:cli/run@0.2.0"]);
        let why = serves_http(&Interfaces {
            imports: vec![],
            exports,
        })
        .unwrap_err();
        assert!(why.contains("it is a command"), "{why}");
    }

    #[test]
    fn a_component_becomes_a_private_file() {
        use std::os::unix::fs::PermissionsExt;
        let target = scratch("probe.cwasm");
        compile(Path::new(PROBE), &target).unwrap();
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        fs::remove_file(&target).unwrap();
        assert_eq!(mode & 0o777, 0o600);
        let found = inspect(Path::new(PROBE)).unwrap();
        assert_eq!(found.exports, ["wasi:http/incoming-handler@0.2.0"]);
        assert!(
            found.imports.contains(&"wasi:http/types@0.2.0".to_string()),
            "{found:?}"
        );
        assert!(found.imports.iter().all(|name| is_provided(name)));
    }

    #[test]
    fn the_version_is_that_of_the_crate_inside() {
        let lock = include_str!("../../Cargo.lock");
        let entry = format!(
            "name = \"wasmtime\"\nversion = \"{}\"",
            crate::WASMTIME_VERSION
        );
        assert!(lock.contains(&entry), "WASMTIME_VERSION is out of date");
        assert_eq!(cpu(), cpu());
        assert!(
            cpu()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }
}
