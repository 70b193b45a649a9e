//! Which files there are, and their text.

use std::io;
use std::path::{Path, PathBuf};

/// Size beyond which a file is refused.
const MAX_SIZE: u64 = 256 << 20;

/// The file itself, or the resource files of a folder and the folders in it, by name.
pub(super) fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if std::fs::metadata(path)?.is_dir() {
        walk(path, 0, &mut files)?;
    } else {
        files.push(path.to_owned());
    }
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    // Links may lead in circles.
    if depth > 32 {
        return Err(io::Error::other(format!("{} is nested too deep", folder.display())));
    }
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        // Editors' and Kubernetes' own files begin with a dot.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A file may vanish between listing and looking: an editor replaced it.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if path
            .extension()
            .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The text of a file; UTF-8 only.
pub(super) fn read(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_SIZE {
        return Err(io::Error::other("the file is larger than 256 MiB"));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}
