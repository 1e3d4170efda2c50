//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    kletimg::cli::run()
}
