//! Both layouts against filters made by the running programs (tests/vectors).

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::filter::{ReceivedFilter, RollingFilter, RollingFilterConfig};
use crate::types::{Dialect, MessageId, RunningTime};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn js() -> Value {
    vectors(include_str!("../../../tests/vectors/js/filters.json"))
}

fn nim() -> Value {
    vectors(include_str!("../../../tests/vectors/nim/filters.json"))
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn id_of(hex: &Value) -> MessageId {
    MessageId::new(unhex(hex))
}

fn words(writer: &InteropWriter) -> &[u8] {
    &writer.bytes[writer.start..]
}

fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The ids of a js vector; those of the large filters are told as a text.
fn js_ids(vector: &Value) -> Vec<MessageId> {
    match &vector["ids"] {
        Value::Array(ids) => ids.iter().map(|id| id.as_str().unwrap().into()).collect(),
        Value::String(told) => {
            let count = told.rsplit("..").next().unwrap();
            let last: u32 = count.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
            (0..=last).map(|n| sha256_hex(&format!("m{n}")).into()).collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn filters_of_js_waku_bit_for_bit() {
    let js = js();
    for vector in list(&js["filters"]) {
        let (name, options) = (&vector["name"], &vector["options"]);
        let capacity = number(&options["capacity"]);
        let mut shape = Shape::of(capacity, options["errorRate"].as_f64().unwrap());
        if let Some(k) = options["kHashes"].as_u64() {
            shape.k = k as u32;
        }
        assert_eq!((shape.k as usize, shape.m as usize), (number(&vector["k"]), number(&vector["m_bits"])), "{name}");
        let mut writer = InteropWriter::with_shape(Peer::JsWaku, shape, capacity, ERROR_RATE);
        for id in js_ids(vector) {
            writer.insert(IdHash::in_dialect(&id, Dialect::JsWaku));
        }
        assert_eq!(words(&writer).len(), number(&vector["bytes"]), "{name}");
        assert_eq!(hex::encode(Sha256::digest(words(&writer))), vector["sha256"], "{name}");
        if let Some(expected) = vector.get("hex") {
            assert_eq!(hex::encode(words(&writer)), *expected, "{name}");
        }
        for (id, positions) in vector["positions"].as_object().into_iter().flatten() {
            let hash = IdHash::in_dialect(&id.as_str().into(), Dialect::JsWaku);
            let expected: Vec<usize> = list(positions).iter().map(number).collect();
            assert_eq!(shape.positions(Peer::JsWaku, hash).unwrap().collect::<Vec<_>>(), expected, "{name} {id}");
        }
    }
}

#[test]
fn lookups_of_js_waku() {
    let js = js();
    let thousand = list(&js["filters"]).iter().find(|vector| vector["name"] == "thousand_default").unwrap();
    let mut summary = RollingFilter::new(RollingFilterConfig::of(Dialect::JsWaku));
    for id in js_ids(thousand) {
        summary.insert(&id, IdHash::in_dialect(&id, Dialect::JsWaku), RunningTime::default());
    }
    let filter = ReceivedFilter::parse(&summary.field(), 64 << 10).unwrap().unwrap();
    for lookup in list(&js["lookups"]) {
        let hash = IdHash::in_dialect(&lookup["id"].as_str().unwrap().into(), Dialect::JsWaku);
        assert_eq!(filter.chance(&hash).is_some(), lookup["in_filter_m0_999"].as_bool().unwrap(), "{lookup}");
    }
}

#[test]
fn positions_of_js_waku() {
    for vector in list(&vectors(include_str!("../../../tests/vectors/js/hashes.json"))["vectors"]) {
        let id = MessageId::from(vector["input"].as_str().unwrap());
        let hash = IdHash::in_dialect(&id, Dialect::JsWaku);
        let (a, b) = hash.js().unwrap();
        let told = |key: &str| vector[key].as_i64().unwrap().unsigned_abs() as u32;
        assert_eq!((a, b), (told("js_hash_i32"), told("js_hash_b_i32")), "{id}");
        let at = |m, n: u32| Shape { k: n + 1, m }.positions(Peer::JsWaku, hash).unwrap().last().unwrap();
        let expected: Vec<usize> = list(&vector["positions_m150000_k10"]).iter().map(number).collect();
        let positions = Shape { k: 10, m: 150_000 }.positions(Peer::JsWaku, hash).unwrap();
        assert_eq!(positions.collect::<Vec<_>>(), expected, "{id}");
        assert_eq!(
            (at(100, 5), at(1_000_003, 9)),
            (number(&vector["n5_m100"]), number(&vector["n9_m1000003"])),
            "{id}"
        );
    }
}

#[test]
fn hashes_and_positions_of_nim_sds() {
    let nim = vectors(include_str!("../../../tests/vectors/nim/hashes.json"));
    for vector in list(&nim["vectors"]) {
        let id = id_of(&vector["hex"]);
        let told = |value: &Value| value.as_str().unwrap().parse::<i64>().unwrap();
        let hash = IdHash::in_dialect(&id, Dialect::NimSds);
        let (a, b) = (told(&vector["hash"]), told(&vector["hash_b"]));
        assert_eq!(hash.nim(), Some((a.wrapping_abs(), b.wrapping_abs())), "{id}");
        for (m, expected) in vector["hashN"].as_object().unwrap() {
            let shape = Shape { k: 10, m: m.parse().unwrap() };
            let positions: Vec<i64> = shape.positions(Peer::NimSds, hash).unwrap().map(|p| p as i64).collect();
            assert_eq!(positions, list(expected).iter().map(told).collect::<Vec<_>>(), "{id} mod {m}");
        }
    }
    // js's vectors hold the same function's values for their own inputs.
    for vector in list(&vectors(include_str!("../../../tests/vectors/js/hashes.json"))["vectors"]) {
        let hash = IdHash::in_dialect(&id_of(&vector["utf8_hex"]), Dialect::NimSds);
        let expected: Vec<usize> = list(&vector["nim_ge22_positions"]).iter().map(number).collect();
        let positions = Shape { k: 10, m: 150_000 }.positions(Peer::NimSds, hash).unwrap();
        assert_eq!(positions.collect::<Vec<_>>(), expected, "{vector}");
    }
}

#[test]
fn filters_of_nim_sds_bit_for_bit() {
    let nim = nim();
    let mut seen = 0;
    for vector in list(&nim["vectors"]).iter().filter(|vector| vector["ids_hex"].is_array()) {
        let capacity = number(&vector["capacity"]);
        let error_rate: f64 = vector["errorRate"].as_str().unwrap().parse().unwrap();
        let shape = match number(&vector["forceNBitsPerElem"]) {
            0 => Shape::of(capacity, error_rate),
            bits => Shape::given(number(&vector["k_arg"]) as u32, bits, capacity),
        };
        assert_eq!((shape.k as usize, shape.m as usize), (number(&vector["kHashes"]), number(&vector["mBits"])));
        let mut writer = InteropWriter::with_shape(Peer::NimSds, shape, capacity, error_rate);
        for id in list(&vector["ids_hex"]) {
            writer.insert(IdHash::in_dialect(&id_of(id), Dialect::NimSds));
        }
        assert_eq!(hex::encode(&writer.bytes), vector["serialized_hex"], "{capacity} {error_rate}");
        let filter = ReceivedFilter::parse(&writer.field(), 64 << 10).unwrap().unwrap();
        for lookup in list(&vector["lookups"]) {
            let hit = filter.chance(&IdHash::in_dialect(&id_of(&lookup["hex"]), Dialect::NimSds)).is_some();
            assert_eq!(hit, lookup["contains"].as_bool().unwrap(), "{lookup}");
        }
        seen += 1;
    }
    assert!(seen >= 13, "{seen}");
}

#[test]
fn rolling_of_nim_sds_bit_for_bit() {
    let nim = nim();
    for vector in list(&nim["rolling"]) {
        let mut summary = RollingFilter::new(RollingFilterConfig {
            max_ids: number(&vector["capacity"]),
            error_rate: vector["errorRate"].as_str().unwrap().parse().unwrap(),
            ..RollingFilterConfig::of(Dialect::NimSds)
        });
        let ids = (0..number(&vector["added"])).map(|n| MessageId::from(format!("m{n}")));
        for id in ids.clone() {
            summary.insert(&id, IdHash::in_dialect(&id, Dialect::NimSds), RunningTime::default());
        }
        let FilterField::NimSds(field) = summary.field() else { panic!() };
        assert_eq!(hex::encode(field), vector["serialized_hex"], "{} ids", vector["added"]);
        let kept: Vec<String> = ids.filter(|id| summary.last_heard(id).is_some()).map(|id| id.to_string()).collect();
        let expected: Vec<&str> = list(&vector["kept_ids"]).iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(kept, expected);
    }
}

#[test]
fn verdicts_of_nim_sds_on_odd_filters() {
    let messages = vectors(include_str!("../../../tests/vectors/nim/messages.json"));
    let verdicts = list(&messages["bloom_decode_verdicts"]);
    assert_eq!(verdicts.len(), 6);
    for vector in verdicts {
        let field = FilterField::NimSds(unhex(&vector["bytes_hex"]).into());
        let parsed = ReceivedFilter::parse(&field, 64 << 10).map(|filter| filter.is_some());
        // What nim-sds takes and then dies of, when it looks for an id, is ignored here.
        let expected = match vector["name"].as_str().unwrap() {
            "ok 16 bytes" => Ok(true),
            "empty" => Ok(false),
            "k 0" => Err(FilterError::HashCount { found: 0, max: 64 }),
            "short array" => Err(FilterError::TooFewWords { claimed: 1_000, found: 64 }),
            "empty array present" => Err(FilterError::TooFewWords { claimed: 100, found: 0 }),
            "missing errorRate" => Err(FilterError::Unusable),
            other => panic!("{other}"),
        };
        assert_eq!(parsed, expected, "{}", vector["name"]);
        assert!(vector["ok"].as_bool().unwrap() || parsed != Ok(true));
    }
}
