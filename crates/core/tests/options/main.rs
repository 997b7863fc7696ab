//! What operators and enterprises may set, as it shows in answers: HTTPS records, zones without
//! client subnets, referrals beside CNAMEs; and what everything else is answered with. Read back by
//! an independent implementation (hickory-proto).

mod https;
mod negative;
mod referral;
mod shares;
mod subnets;
mod why;
mod world;
