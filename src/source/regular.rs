//! Opens files without waiting: a named pipe, a device or a socket in place of a file would hang the program or never end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// The largest text that is read, such as a role, variables or a template.
pub const LARGEST_TEXT: u64 = 16 << 20;
/// The largest file that a task copies.
pub const LARGEST_FILE: u64 = 64 << 20;

/// Opens a file for reading, which must be a regular one.
///
/// # Errors
/// It cannot be opened, or it is a directory, a named pipe, a device or a socket.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Looked at first, because to open some devices is to use them. What is opened may be another file, so it is looked at again.
    regular(&path.metadata()?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(data: &std::fs::Metadata) -> io::Result<()> {
    let kind = data.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {what}, and only regular files are read")))
}

/// Reads a regular file of this size at most.
///
/// # Errors
/// It cannot be read, is not a regular file, or is larger.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    bounded(open_regular(path)?, most)
}

/// Reads a file that the operator has named on the command line. It may also be a pipe, as in `<(program)` and `/dev/stdin`.
///
/// # Errors
/// It cannot be read, or it holds more than `most` bytes.
pub fn read_given(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    bounded(File::open(path)?, most)
}

fn bounded(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {}", shown_size(most))));
    }
    Ok(bytes)
}

fn shown_size(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process::Command};

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        let words = |name: &str| read_regular(&path(name), 10).unwrap_err().to_string();
        assert_eq!(words("pipe"), "it is a named pipe, and only regular files are read");
        assert_eq!(words("socket"), "it is a socket, and only regular files are read");
        assert_eq!(words("device"), "it is a device, and only regular files are read");
        assert_eq!(words("directory"), "it is a directory, and only regular files are read");
        std::fs::write(path("file"), "0123456789").unwrap();
        assert_eq!(read_regular(&path("file"), 10).unwrap(), b"0123456789");
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error_also_if_the_operator_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap().set_len((2 << 20) + 1).unwrap();
        for read in [read_regular, read_given] {
            assert_eq!(read(&path, 2 << 20).unwrap_err().to_string(), "it is larger than 2 MiB");
        }
        assert_eq!(read_given(Path::new("/dev/zero"), 4 << 10).unwrap_err().to_string(), "it is larger than 4 KiB");
    }
}
