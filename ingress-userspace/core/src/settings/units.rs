//! Values as an operator writes them: durations, sizes, numbers, each with its range in its type.
//!
//! A value is checked where it is read, so that the message stands at the line and field of the mistake. The schema of
//! ProxyClass is made of the same types: what the API server admits is what is read here.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Milliseconds in a second, for the bounds of a [`Span`].
pub const SECOND: u64 = 1000;
/// Milliseconds in an hour.
pub const HOUR: u64 = 3600 * SECOND;
/// Milliseconds in a day.
pub const DAY: u64 = 24 * HOUR;
/// Bytes in a kibibyte, for the bounds of a [`Size`].
pub const KIB: u64 = 1 << 10;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

/// Units of time, with their milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [("d", DAY), ("h", HOUR), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1)];
/// Units of size, with their bytes. The empty one is bytes, too.
const SIZE_UNITS: [(&str, u64); 5] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1), ("", 1)];
/// More digits than any range needs, and few enough that no unit overflows.
const MAX_DIGITS: usize = 9;

/// A value of a field and how it becomes a setting.
///
/// Fields are optional: what is not written leaves the setting as it is.
pub trait Overlay: Sized {
    /// The setting.
    type Value;

    /// Puts what is written over what was there.
    fn overlay(&self, base: &mut Self::Value);

    /// How a setting is written; `None` if it is written by leaving the field out.
    fn of(value: &Self::Value) -> Option<Self>;
}

impl Overlay for bool {
    type Value = Self;

    fn overlay(&self, base: &mut Self) {
        *base = *self;
    }

    fn of(value: &Self) -> Option<Self> {
        Some(*value)
    }
}

/// A duration of at least `MIN` and at most `MAX` milliseconds, written with a unit: `500ms`, `10s`, `5m`, `2h`, `365d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<const MIN: u64, const MAX: u64>(Duration);

/// A number of bytes from `MIN` to `MAX`, written plainly or with a binary unit: `4096`, `64KiB`, `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count<T, const MIN: u64, const MAX: u64>(T);

impl<const MIN: u64, const MAX: u64> Overlay for Span<MIN, MAX> {
    type Value = Duration;

    fn overlay(&self, base: &mut Duration) {
        *base = self.0;
    }

    fn of(value: &Duration) -> Option<Self> {
        Some(Self(*value))
    }
}

impl<const MIN: u64, const MAX: u64> Overlay for Size<MIN, MAX> {
    type Value = u64;

    fn overlay(&self, base: &mut u64) {
        *base = self.0;
    }

    fn of(value: &u64) -> Option<Self> {
        Some(Self(*value))
    }
}

impl<T: Copy, const MIN: u64, const MAX: u64> Overlay for Count<T, MIN, MAX> {
    type Value = T;

    fn overlay(&self, base: &mut T) {
        *base = self.0;
    }

    fn of(value: &T) -> Option<Self> {
        Some(Self(*value))
    }
}

/// Splits `10s` into 10 and `s`.
fn split_unit(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(format!("{text:?} does not begin with a whole number"));
    }
    if digits.len() > MAX_DIGITS {
        return Err(format!("{text:?} has more than {MAX_DIGITS} digits"));
    }
    // So few digits are a number.
    Ok((digits.parse().unwrap_or(u64::MAX), unit))
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text)?;
    match TIME_UNITS.iter().find(|(name, _)| *name == unit) {
        // So few digits of days are no overflow.
        Some((_, factor)) => Ok(number * factor),
        None if unit.is_empty() && number == 0 => Ok(0),
        None if unit.is_empty() => Err(format!("{text:?} needs a unit: ms, s, m, h or d")),
        None => Err(format!("{unit:?} is no unit of time: use ms, s, m, h or d")),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text)?;
    let (_, factor) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| format!("{unit:?} is no unit of size: use B, KiB, MiB or GiB"))?;
    // So few digits of gibibytes are no overflow.
    Ok(number * factor)
}

/// A number of milliseconds with the largest unit that fits.
pub(super) fn write_time(milliseconds: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| milliseconds.is_multiple_of(*factor);
    match TIME_UNITS.iter().find(fits) {
        Some((unit, factor)) if milliseconds > 0 => format!("{}{unit}", milliseconds / factor),
        _ => "0s".to_owned(),
    }
}

/// A number of bytes with the largest unit that fits.
pub(super) fn write_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| *factor > 1 && bytes.is_multiple_of(*factor);
    match SIZE_UNITS.iter().find(fits) {
        Some((unit, factor)) if bytes > 0 => format!("{}{unit}", bytes / factor),
        _ => bytes.to_string(),
    }
}

fn in_range(value: u64, min: u64, max: u64, write: fn(u64) -> String) -> Result<u64, String> {
    if value < min {
        Err(format!("{} is less than {}", write(value), write(min)))
    } else if value > max {
        Err(format!("{} is more than {}", write(value), write(max)))
    } else {
        Ok(value)
    }
}

/// Reads a text or a number, as YAML has both.
struct TextOrNumber {
    text: fn(&str) -> Result<u64, String>,
    number: fn(u64) -> Result<u64, String>,
    expecting: &'static str,
}

const TIME: TextOrNumber = TextOrNumber {
    text: milliseconds,
    number: |number| milliseconds(&number.to_string()),
    expecting: "a duration such as 10s",
};

const SIZE: TextOrNumber = TextOrNumber { text: bytes, number: Ok, expecting: "a size such as 64KiB" };

impl Visitor<'_> for TextOrNumber {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        (self.text)(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        (self.number)(number).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(format!("{number} is negative"))),
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Span<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(TIME)?;
        let value = in_range(value, MIN, MAX, write_time).map_err(D::Error::custom)?;
        Ok(Self(Duration::from_millis(value)))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(SIZE)?;
        in_range(value, MIN, MAX, write_size).map(Self).map_err(D::Error::custom)
    }
}

impl<'de, T: TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = in_range(u64::deserialize(deserializer)?, MIN, MAX, |n| n.to_string());
        let value = value.map_err(D::Error::custom)?;
        T::try_from(value).map(Self).map_err(|_| D::Error::custom(format!("{value} is too large")))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Span<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_time(self.0.as_millis() as u64))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_size(self.0))
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Span<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Size<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T: Serialize, const MIN: u64, const MAX: u64> Serialize for Count<T, MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Time = Span<1, HOUR>;
    type Bytes = Size<0, MIB>;

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(read(r#""500ms""#), Ok(Span::<1, HOUR>(Duration::from_millis(500))));
        assert_eq!(read(r#""2m""#), Ok(Span::<1, HOUR>(Duration::from_mins(2))));
        assert_eq!(read(r#""0""#), Ok(Span::<0, HOUR>(Duration::ZERO)));
        for (bad, word) in [
            ("5", "unit"),
            (r#""5""#, "unit"),
            (r#""5y""#, "unit"),
            (r#"" 5s""#, "whole number"),
            (r#""-5s""#, "whole number"),
            (r#""9999999999s""#, "digits"),
            (r#""0s""#, "less than 1ms"),
            (r#""61m""#, "61m is more than 1h"),
            ("true", "a duration such as 10s"),
        ] {
            let error = read::<Time>(bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(read(r#""64KiB""#), Ok(Size::<0, MIB>(65_536)));
        assert_eq!(read("7"), Ok(Size::<0, MIB>(7)));
        for (bad, word) in [
            (r#""7kb""#, "unit"),
            (r#""999999999GiB""#, "more than 1MiB"),
            (r#""9999999999""#, "digits"),
            ("18446744073709551615", "more than 1MiB"),
            ("1048577", "1048577 is more than 1MiB"),
            ("-1", "negative"),
            ("1.5", "a size such as 64KiB"),
        ] {
            let error = read::<Bytes>(bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(read("256"), Ok(Count::<usize, 1, 256>(256)));
        assert!(read::<Count<usize, 1, 256>>("257").unwrap_err().contains("257 is more than 256"));
        assert!(read::<Count<usize, 1, 256>>("0").is_err());
        assert!(read::<Count<usize, 1, 256>>(r#""5""#).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0s", "1ms", "1500ms", "75s", "1m", "36h", "365d"] {
            let span: Span<0, { 365 * DAY }> = read(&format!("{text:?}")).unwrap();
            assert_eq!(span.to_string(), text);
        }
        for text in ["0", "1000", "1KiB", "1536KiB", "2GiB"] {
            let size: Size<0, { 2 * GIB }> = read(&format!("{text:?}")).unwrap();
            assert_eq!(size.to_string(), text);
        }
    }
}
