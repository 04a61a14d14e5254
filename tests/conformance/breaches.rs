//! Every rule can fail: for each there is a store that breaks it, and the rule's check says so.

use reliable_channel::store::conformance::RULES;

use crate::model::Model;

#[tokio::test]
async fn a_breach_of_every_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for rule in RULES {
        if rule.check(&Model::breaking(rule.name)).await.is_ok() {
            unnoticed.push(rule.name);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

/// A breach that nobody makes would prove nothing: the model must be sound but for the one named.
#[tokio::test]
async fn the_model_is_sound_without_a_breach() {
    for rule in RULES {
        rule.check(&Model::sound()).await.unwrap_or_else(|broken| panic!("{}: {broken}", rule.name));
    }
    assert!(RULES.len() >= 38, "{}", RULES.len());
}
