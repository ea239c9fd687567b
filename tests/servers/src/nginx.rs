//! nginx.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use crate::{Engine, Server, process::program};

const PID: &str = "pid";

/// Settings are the lines of its one `server`.
#[derive(Debug)]
pub struct Nginx;

impl Engine for Nginx {
    const NAME: &str = "nginx";
    const PROGRAM: &str = "nginx";
    const END: &str = "TERM";

    fn new() -> Self {
        Self
    }

    fn command(&self, data: &Path, port: u16, settings: &[String]) -> Command {
        // What nobody would notice, and places that anybody may write to.
        let mut lines = format!("daemon off; worker_processes 1; pid {PID}; events {{}} http {{\n");
        for body in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            lines += &format!("{body}_temp_path {body};\n");
        }
        lines += &format!("access_log off; server {{ listen 127.0.0.1:{port};\n");
        lines += &settings.join("\n");
        lines += "\n}}\n";
        let file = data.join("nginx.conf");
        fs::write(&file, lines).unwrap();
        let mut command = Command::new(program(Self::PROGRAM).unwrap());
        command.arg("-c").arg(file).arg("-p").arg(data);
        command.args(["-e", "stderr"]);
        command
    }

    fn is_up(server: &Server<Self>) -> bool {
        // It is written by who has the port.
        let pid = fs::read_to_string(server.data().join(PID)).unwrap_or_default();
        pid.trim() == server.pid().to_string()
            && TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_ok()
    }

    fn url(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }
}
