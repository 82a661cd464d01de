//! Groups of replicas as users run them: three or five processes of `jointoken serve`, each with its own folder and
//! ports, over real TLS and on real disks. They are killed, frozen, wiped, removed and attacked.
//!
//! What happens to messages in between is simulated in `tests/store`; here is what only processes can get wrong.

mod group;
mod in_process;
mod load;
mod wrong_clock;

mod attacks;
mod clocks;
mod copied;
mod fitness;
mod forming;
mod founder_stops;
mod full_disk;
mod growing;
mod key_output;
mod moving;
mod pauses;
mod quorum;
mod refusals;
mod rejoining;
mod removal;
mod set_back;
mod shrinking;
mod silent_leader;
mod told;
mod torture;
mod two_founders;
mod two_pasts;
mod upgrade;
mod wiped;

// The program as a process, as the tests of the whole run it.
#[path = "../marks/marks.rs"]
mod marks;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/port.rs"]
mod port;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/raw_joiner.rs"]
mod raw_joiner;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/server.rs"]
mod server;
#[path = "../operator/small_disk.rs"]
mod small_disk;
