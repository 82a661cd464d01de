//! `cargo xtask generate`: the files that are made from the code and checked in.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::Interrupt;
use crate::progress::Progress;
use crate::workspace;

/// Generated files and the arguments with which the product prints each.
const FILES: [(&str, &[&str]); 3] = [
    ("crds/jointoken.yaml", &["crd"]),
    // Helm takes a chart's CRDs from nowhere else
    ("charts/jointoken/crds/jointoken.yaml", &["crd"]),
    ("docs/openapi.json", &["openapi"]),
];

/// Writes the files, or with `check` fails when one of them differs from what would be written.
pub fn run(check: bool, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let binary = workspace::build_product(interrupt)?;
    let mut stale = Vec::new();
    for (name, args) in FILES {
        let text = print(&binary, args)?;
        let path = workspace::root().join(name);
        let current = fs::read_to_string(&path).unwrap_or_default();
        if current == text {
            progress.line(&format!("{name}: up to date"));
        } else if check {
            stale.push(format!("{name}, {}", first_difference(&current, &text)));
        } else {
            let folder = path.parent().context("a generated file without a folder")?;
            fs::create_dir_all(folder)?;
            fs::write(&path, text).with_context(|| format!("writing {name}"))?;
            progress.line(&format!("{name}: written"));
        }
    }
    if !stale.is_empty() {
        bail!(
            "not what the code generates (run `cargo xtask generate`):\n{}",
            stale.join("\n")
        );
    }
    Ok(())
}

fn print(binary: &Path, args: &[&str]) -> Result<String> {
    let command = format!("jointoken {}", args.join(" "));
    let output = Command::new(binary)
        .args(args)
        .output()
        .with_context(|| command.clone())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{command}` failed ({}): {said}", output.status);
    }
    if output.stdout.is_empty() {
        bail!("`{command}` printed nothing");
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{command}` printed something that is not UTF-8"))
}

/// Where two texts part, for a message.
fn first_difference(current: &str, wanted: &str) -> String {
    if current.is_empty() {
        return "which is missing".into();
    }
    let mut lines = 1;
    let (mut a, mut b) = (current.lines(), wanted.lines());
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) if a == b => lines += 1,
            (a, b) => {
                let [a, b] = [a, b].map(|line| line.unwrap_or("(the end)"));
                return format!("line {lines}:\n  checked in: {a}\n  generated:  {b}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_line_is_shown() {
        let shown = first_difference("a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(shown, "line 2:\n  checked in: b\n  generated:  B");
        let shown = first_difference("a\n", "a\nb\n");
        assert_eq!(shown, "line 2:\n  checked in: (the end)\n  generated:  b");
        assert_eq!(first_difference("", "a\n"), "which is missing");
    }
}
