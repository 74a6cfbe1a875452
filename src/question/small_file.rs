//! What is in a small file, such as a list of package sources: its mode and its bytes, following links.

use base64::Engine as _;

use super::{Kind, Output, Unanswered};
use crate::{resource::RemotePath, script::Script};

/// Larger files are cut off here; comparisons then find them different, as they are.
const MOST_BYTES: &str = "262144";

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallFile {
    /// Permission bits.
    pub mode: u32,
    /// Whether it belongs to root.
    pub of_root: bool,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl Kind for SmallFile {
    type Key = RemotePath;
    /// `None`: there is nothing at the path.
    type Answer = Option<Self>;
    const NAME: &'static str = "small-file";

    fn script(paths: &[&RemotePath]) -> Script {
        Script::new(
            "most=$1; shift
for path do
  if [ -f \"$path\" ]; then
    state=$(stat -L -c '%a %u' -- \"$path\") && content=$(head -c \"$most\" -- \"$path\" | base64 -w 0) && printf 'file %s %s\\n' \"$state\" \"$content\" || echo failed
  elif [ -e \"$path\" ] || [ -L \"$path\" ]; then echo other
  else echo absent
  fi
done 2>&1",
        )
        .arg(MOST_BYTES)
        .args(paths.iter().map(|path| path.as_str()))
    }

    fn read(paths: &[&RemotePath], output: &Output) -> Vec<Result<Option<Self>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("small files", paths.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let read = |path: &&RemotePath| match lines.next() {
            Some("absent") => Ok(None),
            Some("other") => Err(Unanswered(format!("`{path}` is not a regular file"))),
            Some(line) => parse(line).map(Some).ok_or_else(|| Unanswered(format!("`{path}` could not be read: {line}"))),
            None => Err(Unanswered(format!("`{path}` could not be read"))),
        };
        paths.iter().map(read).collect()
    }
}

fn parse(line: &str) -> Option<SmallFile> {
    let mut fields = line.strip_prefix("file ")?.split(' ');
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let of_root = fields.next()? == "0";
    let content = base64::engine::general_purpose::STANDARD.decode(fields.next()?).ok()?;
    Some(SmallFile { mode, of_root, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn the_real_shell_tells_files_apart_whatever_they_hold() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| RemotePath::new(&format!("{}/{name}", root.path().display())).unwrap();
        let hostile = b"absent\nfile 644 0 AAAA\n\0\xff$(reboot)".to_vec();
        fs::write(root.path().join("it's a $(file)"), &hostile).unwrap();
        fs::set_permissions(root.path().join("it's a $(file)"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(root.path().join("empty"), "").unwrap();
        fs::set_permissions(root.path().join("empty"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::create_dir(root.path().join("dir")).unwrap();
        let paths = [path("it's a $(file)"), path("empty"), path("dir"), path("none")];
        let paths: Vec<&RemotePath> = paths.iter().collect();
        let done = trial::run(&SmallFile::script(&paths), root.path());
        let answers = SmallFile::read(&paths, &Output { status: done.status, stdout: done.stdout });
        assert_eq!(answers[0], Ok(Some(SmallFile { mode: 0o600, of_root: true, content: hostile })));
        assert_eq!(answers[1], Ok(Some(SmallFile { mode: 0o644, of_root: true, content: Vec::new() })));
        assert!(answers[2].as_ref().unwrap_err().0.contains("is not a regular file"));
        assert_eq!(answers[3], Ok(None));
    }
}
