//! The functions that Redis runs.

use redis::{Cmd, FromRedisValue, cmd};

use super::{
    failure::{Cause, Failure},
    link::{Link, Request},
};

const SOURCE: &str = include_str!("library.lua");
/// The same as in the source.
const VERSION: u64 = 1;

/// Calls a function, after loading the library where Redis does not have it.
///
/// Nothing was done where there was no function, so calling it again does nothing twice.
pub(super) async fn call<T: FromRedisValue>(link: &Link, call: &Cmd) -> Result<T, Failure> {
    match link.send(Request::Cmd(call)).await {
        Err(failure) if failure.is_missing_function() => {
            if let Err(failure) = load(link).await {
                // Whatever became of the library, the call has done nothing.
                return Err(match failure {
                    Failure::Sent(error) => Failure::NotSent(Cause(error).into()),
                    not_sent => not_sent,
                });
            }
            link.send(Request::Cmd(call)).await
        }
        answer => answer,
    }
}

/// Loads the library, unless Redis has this version or a newer one.
pub(super) async fn load(link: &Link) -> Result<(), Failure> {
    let mut load = cmd("FUNCTION");
    load.arg("LOAD");
    match version(link).await {
        Ok(version) if version >= VERSION => return Ok(()),
        Ok(_) => {
            load.arg("REPLACE");
        }
        Err(failure) if failure.is_missing_function() => {}
        Err(failure) => return Err(failure),
    }
    load.arg(SOURCE);
    match link.send::<String>(Request::Cmd(&load)).await {
        // Somebody else was faster.
        Err(failure) if failure.is_library_there() => match version(link).await {
            Err(failure) if failure.is_missing_function() => Err(Failure::NotSent(
                "Redis has another library of the name tower_sse".into(),
            )),
            other => other.map(drop),
        },
        other => other.map(drop),
    }
}

async fn version(link: &Link) -> Result<u64, Failure> {
    let mut version = cmd("FCALL");
    version.arg("tower_sse_version").arg(0);
    link.send(Request::Cmd(&version)).await
}
