//! What a drill shows: progress on the standard error, the report on the standard output.

use std::io::Write;

use parking_lot::Mutex;

/// Where everything is shown; lines are whole, whoever writes them.
pub struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
    notes: Mutex<Box<dyn Write + Send>>,
}

impl Screen {
    /// Shows the report on the standard output, progress on the standard error.
    pub fn standard() -> Self {
        Self::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()))
    }

    /// Shows everything elsewhere.
    pub fn new(out: Box<dyn Write + Send>, notes: Box<dyn Write + Send>) -> Self {
        Self { out: Mutex::new(out), notes: Mutex::new(notes) }
    }

    /// Shows a line of progress.
    pub(super) fn note(&self, text: &str) {
        // Nobody is left to be told when the terminal is gone.
        let _ = writeln!(self.notes.lock(), "{text}");
    }

    /// Shows a part of the report.
    pub(super) fn report(&self, text: &str) {
        let _ = writeln!(self.out.lock(), "{text}");
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Screen")
    }
}
