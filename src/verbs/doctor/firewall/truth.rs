//! Three-valued truth, and values of a ruleset that may be one, many, or a name of a set. Pure.

use serde_json::Value;

/// A three-valued truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    pub(super) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Whether a name is the value, or in it: "lo", ["lo", "eth0"], {"set": […]}, "eth*", "@set".
pub(super) fn named(value: &Value, name: &str) -> Truth {
    let one = |value: &Value| match value {
        Value::String(text) if text.starts_with('@') => Truth::Unknown,
        Value::String(text) => match text.strip_suffix('*') {
            Some(head) if name.starts_with(head) => Truth::Yes,
            _ if text == name => Truth::Yes,
            _ => Truth::No,
        },
        Value::Number(_) => Truth::No,
        _ => Truth::Unknown,
    };
    any(value, one)
}

/// Whether a number is the value, or in it: 67, {"set": [67, {"range": [69, 80]}]}, {"range": […]}, "@set".
pub(super) fn numbered(value: &Value, number: u64) -> Truth {
    let one = |value: &Value| {
        if let Some(range) = value.get("range").and_then(Value::as_array) {
            let end = |at: usize| range.get(at).and_then(Value::as_u64);
            return match (end(0), end(1)) {
                (Some(first), Some(last)) if (first..=last).contains(&number) => Truth::Yes,
                (Some(_), Some(_)) => Truth::No,
                _ => Truth::Unknown,
            };
        }
        match value {
            Value::Number(n) if n.as_u64() == Some(number) => Truth::Yes,
            Value::Number(_) => Truth::No,
            Value::String(text) if !text.starts_with('@') => Truth::No,
            _ => Truth::Unknown,
        }
    };
    any(value, one)
}

fn any(value: &Value, one: impl Fn(&Value) -> Truth) -> Truth {
    let elements = value
        .as_array()
        .or_else(|| value.get("set").and_then(Value::as_array));
    match elements {
        Some(elements) => elements.iter().map(one).fold(Truth::No, Truth::or),
        None => one(value),
    }
}
