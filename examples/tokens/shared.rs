//! What both examples of signed tokens share: tokens, tickets, and something to watch.

use std::{
    env,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tower_sse::{
    Denial, Grant, Hub, InvalidTopicName, RequestView, Secret, SseLayer, StatusCode, Tickets,
    TokenFinder, TopicName,
    http::{HeaderValue, header::WWW_AUTHENTICATE},
};

pub(crate) const PAGE: &str = include_str!("page.html");
const USERS: [&str; 2] = ["alice", "bob"];
const PASSWORD: &str = "open sesame";

/// What a user sends to log in.
#[derive(Deserialize)]
pub(crate) struct Login {
    user: String,
    password: String,
}

/// What a token says.
#[derive(Deserialize, Serialize)]
struct Claims {
    sub: String,
    jti: String,
    exp: u64,
}

/// Who issues tokens and tickets, and verifies them.
#[derive(Clone)]
pub(crate) struct Auth {
    tickets: Tickets,
    keys: Arc<(EncodingKey, DecodingKey)>,
    lifetime: Duration,
}

impl Auth {
    /// Makes keys that are lost when the process ends. Several processes would share theirs.
    pub(crate) fn new(token: Duration, ticket: Duration) -> Result<Self, Box<dyn Error>> {
        let key: [u8; 32] = random()?;
        let keys = (
            EncodingKey::from_secret(&key),
            DecodingKey::from_secret(&key),
        );
        let key: [u8; 32] = random()?;
        Ok(Self {
            tickets: Tickets::new(key)?.lifetime(ticket),
            keys: Arc::new(keys),
            lifetime: token,
        })
    }

    /// Returns a signed token, or `None` where the name or the password is wrong.
    pub(crate) fn login(&self, login: &Login) -> Result<Option<String>, Box<dyn Error>> {
        if !USERS.contains(&&*login.user) || Secret::new(PASSWORD) != *login.password {
            return Ok(None);
        }
        let end = SystemTime::now().duration_since(UNIX_EPOCH)? + self.lifetime;
        let claims = Claims {
            sub: login.user.clone(),
            jti: u64::from_le_bytes(random()?).to_string(),
            exp: end.as_secs(),
        };
        let header = Header::new(Algorithm::HS256);
        Ok(Some(jsonwebtoken::encode(&header, &claims, &self.keys.0)?))
    }

    /// Returns a ticket, or `None` where the grant has ended.
    pub(crate) fn ticket(&self, grant: &Grant) -> Option<String> {
        self.tickets.issue_for(grant, "/stream").ok()
    }

    /// The policy of routes that take a token.
    pub(crate) fn by_token(&self) -> SseLayer {
        let auth = self.clone();
        let places = TokenFinder::new().bearer();
        SseLayer::new().authorize(move |request: RequestView| {
            let grant = places
                .all(&request)
                .find_map(|token| auth.verify(token.reveal()));
            async move {
                grant.ok_or_else(|| {
                    Denial::refuse(StatusCode::UNAUTHORIZED, "a valid token is needed\n")
                        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
                })
            }
        })
    }

    /// The policy of routes that take a ticket.
    pub(crate) fn by_ticket(&self) -> SseLayer {
        let tickets = self.tickets.clone();
        SseLayer::new().authorize(move |request: RequestView| {
            let ticket = request.query_param("ticket").unwrap_or_default();
            let grant = tickets.verify_for(&ticket, &request);
            async move { Ok(grant?) }
        })
    }

    fn verify(&self, token: &str) -> Option<Grant> {
        // One algorithm only, whatever the token says of itself.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 1; // or it would be good for its last second
        let token = jsonwebtoken::decode::<Claims>(token, &self.keys.1, &validation).ok()?;
        let Claims { sub, jti, exp } = token.claims;
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(exp))?;
        let topics = [counter_of(&sub).ok()?];
        Some(
            Grant::new()
                .subject(sub)
                .id(jti)
                .expires_at(end)
                .topics(topics),
        )
    }
}

fn random<const N: usize>() -> Result<[u8; N], Box<dyn Error>> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The topic of a user's own counter.
pub(crate) fn counter_of(user: &str) -> Result<TopicName, InvalidTopicName> {
    TopicName::new(format!("counter/{user}"))
}

/// Counts for every user, once a second, as long as it is polled.
pub(crate) async fn count(hub: Hub) -> Result<(), Box<dyn Error>> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for number in 0_u64.. {
        tick.tick().await;
        for user in USERS {
            let topic = hub.topic::<u64>(counter_of(user)?)?;
            topic.publish(&number).await?;
        }
    }
    Ok(())
}

/// A number from the environment: seconds, a port.
pub(crate) fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name} must be a number")),
        Err(_) => Ok(default),
    }
}

/// The lifetimes of tokens and tickets as the environment has them.
pub(crate) fn auth_from_env() -> Result<Auth, Box<dyn Error>> {
    let token = Duration::from_secs(number("TOKEN_SECONDS", 3600)?);
    let ticket = Duration::from_secs(number("TICKET_SECONDS", 60)?);
    Auth::new(token, ticket)
}
