//! The lifecycle as its neighbours see it: commands in, outcomes and records out.

mod claims;
mod counted;
mod faults;
mod founding;
mod image;
mod nodes;
mod properties;
mod register;
mod restore;
mod support;
mod sweep;
mod table;
mod time;
mod watch;
