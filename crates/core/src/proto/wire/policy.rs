//! How sites are compared, inside CATALOGUE.

use super::u32_field;
use crate::{
    catalogue::{self, AllDown, Form},
    proto::{
        body::BodyError,
        scan::{Kind, Shape, one},
    },
};

pub(super) const POLICY: Shape = Shape {
    name: "Policy",
    fields: &[
        u32_field(1, "margin_ms"),
        u32_field(2, "margin_percent"),
        one(3, "latency", Kind::Double),
        one(4, "cost", Kind::Double),
        u32_field(5, "form"),
        one(6, "latency_scale_ms", Kind::Double),
        one(7, "cost_scale", Kind::Double),
        one(8, "load", Kind::Double),
        one(9, "load_scale", Kind::Double),
        one(10, "distance", Kind::Double),
        one(11, "distance_scale_km", Kind::Double),
        u32_field(12, "target_load"),
        u32_field(13, "least_sites"),
        u32_field(14, "all_down"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Policy {
    #[prost(uint32, tag = "1")]
    margin_ms: u32,
    #[prost(uint32, tag = "2")]
    margin_percent: u32,
    #[prost(double, tag = "3")]
    latency: f64,
    #[prost(double, tag = "4")]
    cost: f64,
    #[prost(uint32, tag = "5")]
    form: u32,
    /// Absent is what it is by default, so that what does not say it has the octets that it always had;
    /// the same for the other scales and the least number.
    #[prost(double, tag = "6")]
    latency_scale_ms: f64,
    #[prost(double, tag = "7")]
    cost_scale: f64,
    #[prost(double, tag = "8")]
    load: f64,
    #[prost(double, tag = "9")]
    load_scale: f64,
    #[prost(double, tag = "10")]
    distance: f64,
    #[prost(double, tag = "11")]
    distance_scale_km: f64,
    #[prost(uint32, tag = "12")]
    target_load: u32,
    #[prost(uint32, tag = "13")]
    least_sites: u32,
    #[prost(uint32, tag = "14")]
    all_down: u32,
}

/// What a field holds for `value`, where absent stands for `default`.
fn absent(value: f64, default: f64) -> f64 {
    if value == default { 0.0 } else { value }
}

fn present(value: f64, default: f64) -> f64 {
    if value == 0.0 { default } else { value }
}

impl From<catalogue::Policy> for Policy {
    fn from(policy: catalogue::Policy) -> Self {
        let default = catalogue::Policy::default();
        Self {
            margin_ms: policy.margin_ms,
            margin_percent: policy.margin_percent,
            latency: policy.latency,
            cost: policy.cost,
            form: match policy.form {
                Form::Best => 0,
                Form::Failover => 1,
                Form::Weighted => 2,
                Form::RoundRobin => 3,
                Form::Sticky => 4,
            },
            latency_scale_ms: absent(policy.latency_scale_ms, default.latency_scale_ms),
            cost_scale: absent(policy.cost_scale, default.cost_scale),
            load: policy.load,
            load_scale: absent(policy.load_scale, default.load_scale),
            distance: policy.distance,
            distance_scale_km: absent(policy.distance_scale_km, default.distance_scale_km),
            target_load: policy.target_load,
            least_sites: if policy.least_sites == default.least_sites { 0 } else { policy.least_sites },
            all_down: match policy.all_down {
                AllDown::LastGood => 0,
                AllDown::CustomerOrder => 1,
                AllDown::Fail => 2,
            },
        }
    }
}

impl TryFrom<Policy> for catalogue::Policy {
    type Error = BodyError;

    fn try_from(wire: Policy) -> Result<Self, BodyError> {
        let default = Self::default();
        Ok(Self {
            form: match wire.form {
                0 => Form::Best,
                1 => Form::Failover,
                2 => Form::Weighted,
                3 => Form::RoundRobin,
                4 => Form::Sticky,
                value => return Err(BodyError::Enum { field: "form", value }),
            },
            margin_ms: wire.margin_ms,
            margin_percent: wire.margin_percent,
            latency: wire.latency,
            latency_scale_ms: present(wire.latency_scale_ms, default.latency_scale_ms),
            cost: wire.cost,
            cost_scale: present(wire.cost_scale, default.cost_scale),
            load: wire.load,
            load_scale: present(wire.load_scale, default.load_scale),
            distance: wire.distance,
            distance_scale_km: present(wire.distance_scale_km, default.distance_scale_km),
            target_load: wire.target_load,
            least_sites: if wire.least_sites == 0 { default.least_sites } else { wire.least_sites },
            all_down: match wire.all_down {
                0 => AllDown::LastGood,
                1 => AllDown::CustomerOrder,
                2 => AllDown::Fail,
                value => return Err(BodyError::Enum { field: "all_down", value }),
            },
        })
    }
}
