//! Timelines of schedules, for people: who held what when, and where it went wrong.
//!
//! How a key stands is drawn as the store's answers tell it, up to the first that is not the contract's:
//! where that gives somebody the key, they are drawn as given it wrongly, beside its right holder.

mod file;
mod grid;
mod holdings;
mod lines;
mod scene;
mod staging;
mod standing;
mod svg;
mod words;

use std::io;
use std::path::PathBuf;

use scene::Scene;

use crate::schedule::Trace;

/// The timeline as text, for a terminal of 120 columns with a fixed-width font: a line a step, a lane
/// a client, and the store beside them.
///
/// With so many clients that words do not fit in their lanes, they are abbreviated, and stand in full
/// below.
#[must_use]
pub fn text(trace: &Trace) -> String {
    lines::drawn(&Scene::of(trace))
}

/// The timeline as one SVG file that needs nothing else: no fonts, scripts or links.
///
/// Time runs downwards; each client has a lifeline, with a bar on it while it holds a key's lock, and
/// so have the world outside and the store. The same trace gives the same bytes.
#[must_use]
pub fn svg(trace: &Trace) -> String {
    svg::drawn(&Scene::of(trace))
}

/// Writes the SVG to `<target>/idempotency/<name>.svg`, and says where that is. A file that is there
/// already is replaced, at one go.
///
/// The target folder is that of `CARGO_TARGET_DIR` where that is absolute, or else the one that this
/// program lies in, known by cargo's `CACHEDIR.TAG` or by its name, `target`. A program that lies in
/// none writes below the folder for temporary files.
///
/// Of the name, ASCII letters, digits and `_` are kept; whatever else there is becomes `-`, so that
/// the name of a test can be given as it is.
///
/// # Errors
/// Where the folder cannot be made, or the file cannot be written.
pub fn write(trace: &Trace, name: &str) -> io::Result<PathBuf> {
    file::write(&svg(trace), name)
}
