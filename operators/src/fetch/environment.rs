//! What the cache and the searches read of the process's environment, as a value, so that tests bring their own.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

/// Environment variables that decide where things are looked for. Empty ones count as unset.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `JELLYBEAN_CACHE`: the cache folder.
    pub cache: Option<PathBuf>,
    /// `XDG_CACHE_HOME`: the parent of the cache folder, where `JELLYBEAN_CACHE` is unset.
    pub xdg_cache_home: Option<PathBuf>,
    /// `HOME`: its `.cache` is the parent where both are unset.
    pub home: Option<PathBuf>,
    /// `JELLYBEAN_ONNXRUNTIME`: the ONNX Runtime library to use.
    pub onnxruntime: Option<PathBuf>,
    /// `ORT_DYLIB_PATH`: the same, by the name that other programs use.
    pub ort_dylib_path: Option<PathBuf>,
    /// `JELLYBEAN_FFMPEG`: the ffmpeg program to use.
    pub ffmpeg: Option<PathBuf>,
    /// `PATH`: where programs are.
    pub path: Option<OsString>,
    /// `LD_LIBRARY_PATH`: where libraries are, before the system's folders.
    pub ld_library_path: Option<OsString>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let read = |name| env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| read(name).map(PathBuf::from);
        Self {
            cache: path("JELLYBEAN_CACHE"),
            xdg_cache_home: path("XDG_CACHE_HOME"),
            home: path("HOME"),
            onnxruntime: path("JELLYBEAN_ONNXRUNTIME"),
            ort_dylib_path: path("ORT_DYLIB_PATH"),
            ffmpeg: path("JELLYBEAN_FFMPEG"),
            path: read("PATH"),
            ld_library_path: read("LD_LIBRARY_PATH"),
        }
    }

    /// `JELLYBEAN_CACHE`, else `XDG_CACHE_HOME/jellybean`, else `HOME/.cache/jellybean`.
    pub(super) fn cache_folder(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.cache {
            return Ok(folder.clone());
        }
        // The XDG specification has relative folders ignored.
        let xdg = self.xdg_cache_home.clone().filter(|folder| folder.is_absolute());
        let parent = xdg.or_else(|| self.home.as_ref().map(|home| home.join(".cache")));
        let parent = parent.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no folder for the cache: HOME is not set")
                .way_out("set JELLYBEAN_CACHE to a folder that can be written")
        })?;
        Ok(parent.join("jellybean"))
    }

    /// The program of this name in the first folder of `PATH` that has it.
    pub(super) fn find_program(&self, name: &str) -> Option<PathBuf> {
        let folders = self.path.as_ref()?;
        env::split_paths(folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(cache: Option<&str>, xdg: Option<&str>, home: Option<&str>) -> Result<PathBuf> {
        Environment {
            cache: cache.map(PathBuf::from),
            xdg_cache_home: xdg.map(PathBuf::from),
            home: home.map(PathBuf::from),
            ..Environment::default()
        }
        .cache_folder()
    }

    #[test]
    fn own_variable_goes_before_xdg_goes_before_home() {
        let all = folder_of(Some("/own"), Some("/xdg"), Some("/home/bo"));
        assert_eq!(all.unwrap(), Path::new("/own"));
        let two = folder_of(None, Some("/xdg"), Some("/home/bo"));
        assert_eq!(two.unwrap(), Path::new("/xdg/jellybean"));
        let one = folder_of(None, None, Some("/home/bo"));
        assert_eq!(one.unwrap(), Path::new("/home/bo/.cache/jellybean"));
    }

    #[test]
    fn a_relative_xdg_folder_is_ignored() {
        let folder = folder_of(None, Some("relative"), Some("/home/bo"));
        assert_eq!(folder.unwrap(), Path::new("/home/bo/.cache/jellybean"));
    }

    #[test]
    fn no_home_at_all_names_the_way_out() {
        let error = folder_of(None, None, None).unwrap_err();
        assert!(error.to_string().contains("set JELLYBEAN_CACHE"), "{error}");
    }

    #[test]
    fn programs_need_the_executable_bit() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        let path = Some(env::join_paths([folder.path()]).unwrap());
        let environment = Environment { path, ..Environment::default() };
        assert_eq!(environment.find_program("tool"), None);
    }
}
