//! The `jointoken` program; its commands are in [`jointoken::cli`].

fn main() -> std::process::ExitCode {
    jointoken::cli::main()
}
