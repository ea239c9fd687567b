//! Every server delivers everything, and in order.

use std::{error::Error, process::Command};

#[test]
fn every_client_of_every_server_gets_every_event() -> Result<(), Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_fanout"))
        .arg("check")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Ok(())
}
