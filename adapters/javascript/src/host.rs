//! The synchronous host functions behind the prelude, and what one call knows and observes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use concave_core::Timestamp;
use concave_core::engine::{FunctionKind, LogLine, Observed, Program};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::console::Console;
use crate::{crypto, form, prelude, text, url};

/// A value that crosses between JavaScript and the host.
#[derive(Clone, Debug, PartialEq)]
pub enum HostValue {
    /// `undefined`.
    Undefined,
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string without lone surrogates.
    String(String),
    /// An `ArrayBuffer`, copied.
    Bytes(Vec<u8>),
}

/// An exception for JavaScript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    /// The error's `name`: a built-in class such as `TypeError`, or a `DOMException` name.
    pub name: &'static str,
    /// The error's `message`.
    pub message: String,
    /// Whether the call ends with this error, whatever user code does about it.
    pub fatal: bool,
}

impl HostError {
    /// An error that user code can catch.
    pub(crate) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
            fatal: false,
        }
    }

    /// A `TypeError`.
    pub(crate) fn type_error(message: impl Into<String>) -> Self {
        Self::new("TypeError", message)
    }

    /// A part of the platform that is missing on purpose: not catchable, so that nobody works around it unawares.
    pub(crate) fn unsupported(op: &str, class: &str) -> Self {
        Self {
            name: "Error",
            message: format!(
                "Not implemented: {op} for {class}. Consider calling a Node.js action (\"use node\") if you need it."
            ),
            fatal: true,
        }
    }
}

pub(crate) type HostResult = Result<HostValue, HostError>;

/// What the code is doing, hence what it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Modules are imported: for a call or at push time.
    Import,
    /// A query runs.
    Query,
    /// A mutation runs.
    Mutation,
    /// An action or an HTTP action runs.
    Action,
}

impl From<FunctionKind> for Phase {
    fn from(kind: FunctionKind) -> Self {
        match kind {
            FunctionKind::Query => Phase::Query,
            FunctionKind::Mutation => Phase::Mutation,
            FunctionKind::Action => Phase::Action,
        }
    }
}

/// Tells how much time has passed since the call began.
pub type Elapsed = Box<dyn Fn() -> Duration + Send>;

/// What determines a call's surroundings.
pub struct HostInputs {
    /// What the code may use.
    pub phase: Phase,
    /// The clock when the call begins.
    pub now: Timestamp,
    /// Seed of all randomness.
    pub seed: [u8; 32],
    /// Environment variables.
    pub env: Arc<BTreeMap<String, String>>,
    /// Whether reading a variable that is not set throws (as in the auth configuration) instead of giving
    /// `undefined`.
    pub env_must_exist: bool,
    /// Lets time pass. User code sees it in actions only; elsewhere it dates log lines and drives `console.time`.
    /// Without it time stands still.
    pub elapsed: Option<Elapsed>,
}

impl HostInputs {
    /// What a program's modules see while they are imported for calls.
    pub fn import(program: &Program) -> Self {
        Self {
            phase: Phase::Import,
            now: program.import_time,
            seed: program.import_seed,
            env: Arc::new(program.environment_variables.clone()),
            env_must_exist: false,
            elapsed: None,
        }
    }
}

/// State of one call on the host's side of `__host`.
pub struct HostState {
    inputs: HostInputs,
    rng: ChaCha12Rng,
    observed: Observed,
    console: Console,
}

impl HostState {
    /// The state at the beginning of a call.
    pub fn new(inputs: HostInputs) -> Self {
        Self {
            rng: ChaCha12Rng::from_seed(inputs.seed),
            inputs,
            observed: Observed::default(),
            console: Console::default(),
        }
    }

    /// Begins another phase with new inputs; lines printed so far stay, observations are forgotten.
    ///
    /// For engines that import modules and run a function in one world.
    pub fn enter(&mut self, inputs: HostInputs) {
        self.rng = ChaCha12Rng::from_seed(inputs.seed);
        self.inputs = inputs;
        self.observed = Observed::default();
    }

    /// What the code may use at the moment.
    pub fn phase(&self) -> Phase {
        self.inputs.phase
    }

    /// Takes the lines printed since the last time, oldest first.
    pub fn take_logs(&mut self) -> Vec<LogLine> {
        self.console.take()
    }

    /// The inputs that code has looked at so far.
    pub fn observed(&self) -> Observed {
        self.observed
    }

    /// Answers one `__host` call. The prelude is the only caller; its scripts are the reference for the operations.
    ///
    /// # Errors
    /// What JavaScript is to throw.
    pub fn call(&mut self, op: &str, args: &[HostValue]) -> HostResult {
        let args = Args(args);
        let Some((family, name)) = op.split_once('/') else {
            return Err(unknown(op));
        };
        match family {
            "prelude" if name == "source" => {
                let part = args.string(0)?;
                prelude::lazy_source(part)
                    .map(|source| HostValue::String(source.to_owned()))
                    .ok_or_else(|| unknown(part))
            }
            "phase" => self.phase_call(name, args),
            // Without a program there is nothing to map it with.
            "stack" if name == "map" => Ok(HostValue::String(args.string(0)?.to_owned())),
            "time" => self.time(name),
            "random" => self.random(name, args),
            "env" => self.env(name, args),
            "console" => {
                let now = self.now();
                self.console.call(name, args, now)
            }
            "crypto" => crypto::call(name, args, &mut self.rng),
            "form" => form::call(name, args),
            "text" => text::call(name, args),
            "url" => url::call(name, args),
            "base64" => base64_call(name, args),
            _ => Err(unknown(op)),
        }
    }

    fn phase_call(&self, name: &str, args: Args<'_>) -> HostResult {
        match name {
            "permit" => self.permit(args.string(0)?),
            "imports" => Ok(HostValue::Bool(self.inputs.phase == Phase::Import)),
            "unsupported" => Err(HostError::unsupported(args.string(0)?, args.string(1)?)),
            _ => Err(unknown(name)),
        }
    }

    /// Allows what only actions may do.
    fn permit(&self, what: &str) -> HostResult {
        match self.inputs.phase {
            Phase::Action => Ok(HostValue::Undefined),
            Phase::Import => Err(HostError::new(
                "Error",
                format!("{what} unsupported at import time"),
            )),
            Phase::Query | Phase::Mutation => Err(HostError::new(
                "Error",
                format!(
                    "Can't use {what} in queries and mutations. Please consider using an action. \
                     See https://docs.convex.dev/functions/actions for more details."
                ),
            )),
        }
    }

    fn elapsed(&self) -> Duration {
        self.inputs
            .elapsed
            .as_ref()
            .map_or(Duration::ZERO, |elapsed| elapsed())
    }

    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Timestamp(self.inputs.now.0.saturating_add(elapsed))
    }

    fn time(&mut self, name: &str) -> HostResult {
        let moves = self.inputs.phase == Phase::Action;
        match name {
            // Whole milliseconds since the epoch.
            "now" => {
                self.observed.time = true;
                let now = if moves { self.now() } else { self.inputs.now };
                Ok(HostValue::Number((now.0 / 1_000_000) as f64))
            }
            // Milliseconds since the start, with fraction.
            "elapsed" if moves => Ok(HostValue::Number(self.elapsed().as_secs_f64() * 1e3)),
            "elapsed" => Ok(HostValue::Number(0.0)),
            _ => Err(unknown(name)),
        }
    }

    fn random(&mut self, name: &str, args: Args<'_>) -> HostResult {
        self.observed.random = true;
        match name {
            // Uniform in [0, 1), 53 bits.
            "number" => {
                let bits = self.rng.next_u64() >> 11;
                Ok(HostValue::Number(bits as f64 * (-53f64).exp2()))
            }
            "bytes" => {
                const BYTES_MAX: usize = 65536;
                let length = args.number(0)? as usize;
                if length > BYTES_MAX {
                    return Err(HostError::new(
                        "QuotaExceededError",
                        format!("getRandomValues gives at most {BYTES_MAX} bytes, {length} asked"),
                    ));
                }
                let mut bytes = vec![0; length];
                self.rng.fill_bytes(&mut bytes);
                Ok(HostValue::Bytes(bytes))
            }
            _ => Err(unknown(name)),
        }
    }

    fn env(&self, name: &str, args: Args<'_>) -> HostResult {
        match name {
            "get" => {
                let variable = args.string(0)?;
                match self.inputs.env.get(variable) {
                    Some(value) => Ok(HostValue::String(value.clone())),
                    // The Convex CLI reads the word after "Environment variable".
                    None if self.inputs.env_must_exist => Err(HostError::new(
                        "Error",
                        format!(
                            "Environment variable {variable} is used in the auth configuration but is not set"
                        ),
                    )),
                    None => Ok(HostValue::Undefined),
                }
            }
            "names" => Ok(HostValue::String(json(
                &self.inputs.env.keys().collect::<Vec<_>>(),
            ))),
            _ => Err(unknown(name)),
        }
    }
}

/// Base64 as the WHATWG Infra standard decodes it: padding optional, stray low bits dropped.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn base64_call(name: &str, args: Args<'_>) -> HostResult {
    match name {
        "encode" => Ok(HostValue::String(STANDARD.encode(args.bytes(0)?))),
        "decode" => {
            let text: Vec<u8> = args
                .string(0)?
                .bytes()
                .filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' '))
                .collect();
            let padded = text.ends_with(b"=");
            if padded && !text.len().is_multiple_of(4) {
                return Err(not_base64());
            }
            FORGIVING
                .decode(text)
                .map(HostValue::Bytes)
                .map_err(|_| not_base64())
        }
        _ => Err(unknown(name)),
    }
}

fn not_base64() -> HostError {
    HostError::new(
        "InvalidCharacterError",
        "The string to be decoded is not correctly encoded.",
    )
}

/// JSON text of plain data.
pub(crate) fn json<T: serde::Serialize>(data: &T) -> String {
    serde_json::to_string(data).expect("strings and arrays always serialise")
}

/// An operation that no prelude script issues.
pub(crate) fn unknown(op: &str) -> HostError {
    HostError::new("Error", format!("Unknown host operation {op}"))
}

/// Arguments of a host call. Scripts convert before they call, so a wrong type is our own mistake; it is still an
/// ordinary error.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a>(pub &'a [HostValue]);

impl<'a> Args<'a> {
    pub(crate) fn get(self, index: usize) -> &'a HostValue {
        self.0.get(index).unwrap_or(&HostValue::Undefined)
    }

    pub(crate) fn string(self, index: usize) -> Result<&'a str, HostError> {
        match self.get(index) {
            HostValue::String(text) => Ok(text),
            other => Err(mismatch(index, "a string", other)),
        }
    }

    pub(crate) fn bytes(self, index: usize) -> Result<&'a [u8], HostError> {
        match self.get(index) {
            HostValue::Bytes(bytes) => Ok(bytes),
            other => Err(mismatch(index, "an ArrayBuffer", other)),
        }
    }

    pub(crate) fn number(self, index: usize) -> Result<f64, HostError> {
        match self.get(index) {
            HostValue::Number(number) => Ok(*number),
            other => Err(mismatch(index, "a number", other)),
        }
    }

    pub(crate) fn bool(self, index: usize) -> Result<bool, HostError> {
        match self.get(index) {
            HostValue::Bool(value) => Ok(*value),
            other => Err(mismatch(index, "a boolean", other)),
        }
    }
}

fn mismatch(index: usize, expected: &str, found: &HostValue) -> HostError {
    let found = match found {
        HostValue::Undefined => "undefined",
        HostValue::Null => "null",
        HostValue::Bool(_) => "a boolean",
        HostValue::Number(_) => "a number",
        HostValue::String(_) => "a string",
        HostValue::Bytes(_) => "an ArrayBuffer",
    };
    HostError::type_error(format!(
        "host argument {index}: expected {expected}, got {found}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPS: &[&str] = &[
        "prelude/source",
        "phase/permit",
        "phase/imports",
        "phase/unsupported",
        "stack/map",
        "time/now",
        "time/elapsed",
        "random/number",
        "random/bytes",
        "env/get",
        "env/names",
        "console/write",
        "console/time",
        "console/timeLog",
        "console/timeEnd",
        "text/encode",
        "text/name",
        "text/decode",
        "text/tail",
        "url/parse",
        "url/set",
        "url/parseForm",
        "url/encodeForm",
        "base64/encode",
        "base64/decode",
        "form/parse",
        "crypto/digest",
        "crypto/hmac",
        "crypto/pbkdf2",
        "crypto/hkdf",
        "crypto/encrypt",
        "crypto/decrypt",
        "crypto/import",
        "crypto/export",
        "crypto/public",
        "crypto/sign",
        "crypto/verify",
        "crypto/agree",
        "crypto/oaepEncrypt",
        "crypto/oaepDecrypt",
        "crypto/rsaInfo",
        "none",
        "no/such",
    ];

    /// Names that operations branch on, mixed with text that they parse.
    const WORDS: &[&str] = &[
        "SHA-1",
        "SHA-256",
        "SHA-512",
        "RSA",
        "P-256",
        "P-384",
        "Ed25519",
        "RSA-PSS",
        "AES-GCM",
        "AES-CBC",
        "AES-CTR",
        "private",
        "public",
        "jwk",
        "raw",
        "pkcs8",
        "spki",
        "utf-8",
        "utf-16le",
        "shift_jis",
        "log",
        "http://a:b@c:1/d?e#f",
        "host",
        "port",
        "search",
        "[[\"a\",\"b\"]]",
        "{}",
        "=",
        "YQ==",
    ];

    fn value() -> impl Strategy<Value = HostValue> {
        prop_oneof![
            1 => Just(HostValue::Undefined),
            1 => any::<bool>().prop_map(HostValue::Bool),
            2 => prop_oneof![any::<f64>(), (0..200u32).prop_map(f64::from)].prop_map(HostValue::Number),
            6 => proptest::sample::select(WORDS).prop_map(|word| HostValue::String(word.to_owned())),
            2 => any::<String>().prop_map(HostValue::String),
            6 => prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                proptest::sample::select(vec![12usize, 16, 24, 32, 48, 65, 97]).prop_map(|length| vec![4; length]),
            ]
            .prop_map(HostValue::Bytes),
        ]
    }

    proptest! {
        /// Goal: no arguments make the host panic. Method: all operations with arguments of all types, among them
        /// the names they branch on.
        #[test]
        fn any_arguments_give_a_result_or_an_error(
            calls in proptest::collection::vec(
                (proptest::sample::select(OPS), proptest::collection::vec(value(), 0..7)),
                1..40,
            ),
        ) {
            let mut host = HostState::new(crate::conformance::inputs(Phase::Action));
            for (op, args) in calls {
                if let Err(error) = host.call(op, &args) {
                    prop_assert_eq!(error.fatal, error.message.starts_with("Not implemented: "));
                }
            }
        }
    }
}
