//! The lifecycle as its neighbours see it: commands in, outcomes and records out.

mod claims;
mod counted;
mod faults;
mod founding;
mod growth;
mod image;
mod keys;
mod marks;
mod nodes;
mod properties;
mod register;
mod restore;
mod support;
mod sweep;
mod table;
mod time;
mod watch;
