//! How a section of the settings is declared: once, for the program, the configuration file and ProxyClass.

/// Declares a section: the settings with their defaults, and the fields by which an operator changes them. Each line is
/// `name: how it is written = the default`; its comment becomes the description in the schema of ProxyClass.
macro_rules! section {
    (
        $(#[$($about:tt)+])*
        $settings:ident by $spec:ident {
            $( $(#[$($doc:tt)+])* $field:ident: $type:ty = $default:expr, )+
        }
    ) => {
        $(#[$($about)+])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $settings {
            $( $(#[$($doc)+])* pub $field: <$type as $crate::settings::Overlay>::Value, )+
        }

        impl Default for $settings {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        $(#[$($about)+])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $spec {
            $(
                $(#[$($doc)+])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )+
        }

        impl $crate::settings::Overlay for $spec {
            type Value = $settings;

            fn overlay(&self, base: &mut $settings) {
                $(
                    if let Some(written) = &self.$field {
                        $crate::settings::Overlay::overlay(written, &mut base.$field);
                    }
                )+
            }

            fn of(settings: &$settings) -> Option<Self> {
                Some(Self { $( $field: $crate::settings::Overlay::of(&settings.$field), )+ })
            }
        }
    };
}

pub(super) use section;
