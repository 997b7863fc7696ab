//! Places on earth, as far as customers and operators name them.

use serde::{Deserialize, Serialize};

/// The earth's mean radius in kilometres.
const RADIUS: f64 = 6_371.0;
/// What is nowhere in particular is as far as anything can be: half of the circumference, in kilometres.
pub const FARTHEST_KM: f64 = 20_016.0;

/// A place on earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// -90, the south pole, to 90.
    pub latitude: f64,
    /// -180 to 180, east is positive.
    pub longitude: f64,
}

impl Location {
    /// Whether it is one.
    pub fn is_valid(&self) -> bool {
        (-90.0..=90.0).contains(&self.latitude) && (-180.0..=180.0).contains(&self.longitude)
    }

    /// The way along the surface in kilometres, up to [`FARTHEST_KM`].
    pub fn distance_km(&self, to: &Self) -> f64 {
        let (a, b) = (self.latitude.to_radians(), to.latitude.to_radians());
        let (dy, dx) = ((b - a) / 2.0, (to.longitude - self.longitude).to_radians() / 2.0);
        let h = dy.sin().powi(2) + a.cos() * b.cos() * dx.sin().powi(2);
        (2.0 * RADIUS * h.clamp(0.0, 1.0).sqrt().asin()).min(FARTHEST_KM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_an_atlas() {
        let place = |latitude, longitude| Location { latitude, longitude };
        let (berlin, seattle, antipode) = (place(52.52, 13.405), place(47.61, -122.33), place(-52.52, -166.595));
        assert!(berlin.distance_km(&berlin) < 1e-6);
        let far = berlin.distance_km(&seattle);
        assert!((8_050.0..8_200.0).contains(&far), "{far}");
        assert!((far - seattle.distance_km(&berlin)).abs() < 1e-6);
        let farthest = berlin.distance_km(&antipode);
        assert!((20_000.0..=FARTHEST_KM).contains(&farthest), "{farthest}");
        assert!(place(10.0, 179.9).distance_km(&place(10.0, -179.9)) < 30.0, "across the date line");
    }

    #[test]
    fn what_is_off_the_map_is_no_place() {
        let valid = |latitude, longitude| Location { latitude, longitude }.is_valid();
        assert!(valid(90.0, -180.0));
        assert!(!valid(90.1, 0.0) && !valid(0.0, 180.1) && !valid(f64::NAN, 0.0));
    }
}
