//! One table per enumeration: its names in files, in messages and on the command line.

/// Gives a unit-only enumeration `as_str`, `Display` and `FromStr` from one table. The first name of a
/// variant is the one that is written; names after `|` are read as well. Reading takes `_` for `-`.
macro_rules! names {
    ($type:ident, $what:literal, { $($variant:ident = $name:literal $(| $alias:literal)*,)+ }) => {
        impl $type {
            /// The name in files and messages.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            #[doc = concat!("Reads the name of a ", $what, "; `_` and `-` are the same.")]
            fn from_str(given: &str) -> Result<Self, Self::Err> {
                match given.replace('_', "-").as_str() {
                    $($name $(| $alias)* => Ok($type::$variant),)+
                    _ => Err($crate::Error::Unknown {
                        what: $what,
                        given: given.to_owned(),
                        known: [$($name, $($alias,)*)+].join(", "),
                    }),
                }
            }
        }
    };
}

pub(crate) use names;

#[cfg(test)]
mod tests {
    use crate::{
        Baseline, CountedRows, Error, KeepGroups, KlEstimator, Normaliser, Parts, Scale, Signs, Singleton,
        Source,
    };

    /// Every name is read back as the variant that writes it.
    fn round_trip<T>(names: &str)
    where
        T: std::str::FromStr<Err = Error> + std::fmt::Display,
    {
        for name in names.split(' ') {
            assert_eq!(name.parse::<T>().unwrap().to_string(), name);
        }
        let message = "mistaken".parse::<T>().map(|_| ()).unwrap_err().to_string();
        assert!(
            message.contains("`mistaken`") && message.contains(names.split(' ').next().unwrap()),
            "{message}"
        );
    }

    #[test]
    fn names_round_trip() {
        round_trip::<Source>("expert teacher policy");
        round_trip::<Baseline>("mixed on-policy per-source leave-one-out none");
        round_trip::<Scale>("std batch-std none");
        round_trip::<Singleton>("zero reward");
        round_trip::<Signs>("both positive negative");
        round_trip::<CountedRows>("all active");
        round_trip::<Parts>("joint apart");
        round_trip::<KeepGroups>("all varied");
        round_trip::<KlEstimator>("k1 k2 k3 low-var-kl");
        round_trip::<Normaliser>(
            "token-mean seq-mean-token-mean seq-mean-token-sum fixed-length seq-mean-token-sum-norm",
        );
    }

    #[test]
    fn names_of_other_trainers() {
        assert_eq!("self".parse(), Ok(Source::Policy));
        for (name, scale) in [("group", Scale::Std), ("batch", Scale::BatchStd), ("false", Scale::None)] {
            assert_eq!(name.parse(), Ok(scale));
        }
        for (name, estimator) in
            [("kl", KlEstimator::K1), ("mse", KlEstimator::K2), ("low_var_kl", KlEstimator::LowVarKl)]
        {
            assert_eq!(name.parse(), Ok(estimator));
        }
        let losses = [
            ("grpo", Normaliser::SeqMeanTokenMean),
            ("bnpo", Normaliser::TokenMean),
            ("dapo", Normaliser::TokenMean),
            ("dr_grpo", Normaliser::FixedLength),
            ("token_mean", Normaliser::TokenMean),
        ];
        for (name, normaliser) in losses {
            assert_eq!(name.parse(), Ok(normaliser));
        }
    }
}
