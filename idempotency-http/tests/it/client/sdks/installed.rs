//! The SDKs, installed in pinned versions into folders of the build's, once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command as Blocking;

use tokio::process::Command;

const PYTHON_PACKAGES: &str = include_str!("requirements.txt");
const NODE_PACKAGES: &str = include_str!("package.json");

/// Python with its SDKs, to run this program.
pub(super) fn python(program: &str) -> Command {
    let folder = installed("python", PYTHON_PACKAGES, |folder| {
        let advice = "Python 3.9 or newer with venv, which this test drives SDKs with: install it, as by \
                      `apt-get install python3-venv` or `brew install python3`";
        run(Blocking::new("python3").args(["-m", "venv"]).arg(folder), advice);
        let packages = folder.join("requirements.txt");
        fs::write(&packages, PYTHON_PACKAGES).unwrap();
        let mut pip = Blocking::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "-r"]).arg(packages);
        run(&mut pip, "pip, and the packages of requirements.txt from where it gets them");
    });
    let mut command = Command::new(folder.join("bin/python"));
    command.args(["-c", program]);
    command
}

/// Node with its SDK, to run this program.
pub(super) fn node(program: &str) -> Command {
    let folder = installed("node", NODE_PACKAGES, |folder| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("package.json"), NODE_PACKAGES).unwrap();
        let mut npm = Blocking::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(folder);
        let advice = "Node 18 or newer with npm, which this test drives an SDK with: install it, as by \
                      `apt-get install npm` or `brew install node`; and the packages of package.json from where npm \
                      gets them";
        run(&mut npm, advice);
    });
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", program, "--"]).current_dir(folder);
    command
}

/// The folder of these packages, made once for all tests and all their runs, also where several are at it.
fn installed(name: &str, packages: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdks");
    fs::create_dir_all(&all).unwrap();
    let lock = File::create(all.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (folder, stamp) = (all.join(name), all.join(format!("{name}.installed")));
    if fs::read_to_string(&stamp).ok().as_deref() != Some(packages) {
        // What another version or a kill has left.
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        install(&folder);
        fs::write(stamp, packages).unwrap();
    }
    folder
}

fn run(command: &mut Blocking, needs: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; it needs {needs}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; it needs {needs}:\n{said}");
}
