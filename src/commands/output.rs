//! `--output FILE`: a file that is replaced when the new one is complete.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempPath;

use super::Failure;

/// Where a command writes.
pub enum Output {
    /// Standard output.
    Standard,
    /// A file, with symbolic links resolved.
    File(PathBuf),
}

impl Output {
    /// Checks the value of `--output`.
    pub fn parse(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        let usage = |why: &str| Failure::Usage(format!("--output {}: {why}", path.display()));
        match fs::canonicalize(path) {
            // It would be replaced by a file: a pipe or /dev/null must not be.
            Ok(place) if !place.is_file() => Err(usage("exists and is not a regular file; use - for standard output")),
            Ok(place) => Ok(Self::File(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => {
                Ok(Self::File(path.to_owned()))
            }
            Err(error) => Err(usage(&error.to_string())),
        }
    }

    /// The folder of the file, or a folder for temporary files.
    pub fn directory(&self) -> PathBuf {
        match self {
            Self::Standard => std::env::temp_dir(),
            Self::File(place) => match place.parent() {
                Some(parent) if parent != Path::new("") => parent.to_owned(),
                _ => PathBuf::from("."),
            },
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Standard => "standard output".to_owned(),
            Self::File(place) => place.display().to_string(),
        }
    }

    /// No file can be created in the folder; found before anything is done.
    pub fn refuse(&self, error: &io::Error) -> Failure {
        Failure::Usage(format!("--output: no file can be made in {}: {error}", self.directory().display()))
    }

    /// Writing failed.
    pub fn failed(&self, error: &io::Error) -> Failure {
        Failure::Running(format!("cannot write to {}: {error}", self.name()))
    }

    /// Creates the file that will replace `place`, under another name in the same folder.
    pub fn temporary_file(&self, place: &Path) -> io::Result<TemporaryFile> {
        let mut builder = tempfile::Builder::new();
        // Readable by whom the umask allows: another user's Prometheus may be the one to read it.
        builder.prefix(".btcpool-exporter-").permissions(Permissions::from_mode(0o666));
        let (file, name) = builder.tempfile_in(self.directory())?.into_parts();
        Ok(TemporaryFile { file, name, place: place.to_owned() })
    }
}

/// A file that replaces another one when it is complete, and is removed if it is dropped before.
pub struct TemporaryFile {
    file: File,
    name: TempPath,
    place: PathBuf,
}

impl TemporaryFile {
    /// Lets every user read the file, whatever the umask.
    pub fn make_readable(&self) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(0o644))
    }

    /// Writes the content and puts the file in place.
    pub async fn replace<T: Send + 'static>(
        self,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Self { file, name, place } = self;
        // Not on this thread: a signal must be handled meanwhile. The file is then removed together with this future.
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::new(&file);
            let result = write(&mut out)?;
            out.flush()?;
            drop(out);
            file.sync_all().map(|()| result)
        });
        let result = writing.await.map_err(io::Error::other)??;
        name.persist(place)?;
        Ok(result)
    }
}
