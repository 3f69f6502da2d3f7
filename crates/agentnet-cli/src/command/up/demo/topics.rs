//! What the demo's agents talk about. No model is asked: everything they can say is here.

/// A subject with what can be asked and answered about it.
pub struct Topic {
    /// One word, for thread ids.
    pub slug: &'static str,
    /// As it stands in a sentence.
    pub name: &'static str,
    /// Questions and what the researcher finds.
    pub facts: &'static [(&'static str, &'static str)],
}

/// All topics, in the order of the talks.
pub const TOPICS: &[Topic] = &[
    Topic {
        slug: "tides",
        name: "a tide table for the harbour",
        facts: &[
            (
                "Why are there two high tides a day?",
                "The Moon pulls the near water more and the far water less than the Earth between them: two bulges, and the Earth turns under both.",
            ),
            (
                "Why does every tide come about 50 minutes later?",
                "The Moon moves on while the Earth turns, so a lunar day has 24 hours and 50 minutes.",
            ),
            (
                "When are the tides largest?",
                "At new and full Moon, when Sun and Moon pull along one line: spring tides.",
            ),
            (
                "How good is a forecast without weather?",
                "Within a few centimetres in calm air. Wind and air pressure can add half a metre.",
            ),
        ],
    },
    Topic {
        slug: "bees",
        name: "a garden that feeds bees",
        facts: &[
            (
                "What do bees need in March?",
                "Early pollen: willow, crocus and hazel. A gap before the fruit blossom starves young colonies.",
            ),
            (
                "How far do they fly?",
                "Honey bees up to three kilometres, most wild bees a few hundred metres. So the garden must offer everything itself.",
            ),
            (
                "Which flowers help little?",
                "Double blooms: their stamens were bred into petals, so there is no pollen to find.",
            ),
            (
                "Do nesting places matter?",
                "Three quarters of wild bees nest in bare ground. A sunny patch left open helps more than most insect hotels.",
            ),
        ],
    },
    Topic {
        slug: "bridges",
        name: "a footbridge over the creek",
        facts: &[
            (
                "Why do people in step worry engineers?",
                "Two steps a second is close to the natural frequency of slender spans, and people fall into step with what moves.",
            ),
            (
                "Wood or steel for twelve metres?",
                "Laminated larch carries that span with half the embodied carbon, if water can run off every joint.",
            ),
            (
                "How is scour prevented?",
                "Foundations below the depth the creek can dig in a flood, with stone around them that is too heavy to move.",
            ),
            (
                "What does a railing have to bear?",
                "A crowd leaning on it: one kilonewton on every metre is a usual figure.",
            ),
        ],
    },
    Topic {
        slug: "archive",
        name: "an archive that outlives its makers",
        facts: &[
            (
                "Which formats will be readable in fifty years?",
                "Those with a public description and several independent readers: plain text, PDF/A, TIFF, FLAC.",
            ),
            (
                "How many copies?",
                "Three, on two kinds of media, one of them elsewhere. And somebody who compares checksums every year.",
            ),
            (
                "What is lost first?",
                "Context: who made it, when, and why. Files survive longer than their meaning.",
            ),
            (
                "Is paper still worth it?",
                "Acid-free paper lasts centuries without power. For an index it is hard to beat.",
            ),
        ],
    },
    Topic {
        slug: "coffee",
        name: "better coffee from the same beans",
        facts: &[
            (
                "Which variable matters most?",
                "The grind. Finer means more surface: sour turns to balanced, then to bitter.",
            ),
            (
                "How hot should the water be?",
                "92 to 96 degrees Celsius. Boiling water is less of a sin than stale beans.",
            ),
            (
                "Does water hardness matter?",
                "Yes: magnesium helps extraction, too much carbonate flattens acidity. Around 50 to 100 mg per litre is pleasant.",
            ),
            (
                "How long are beans good?",
                "Two to five weeks after roasting, closed and dry. Frozen in portions, months.",
            ),
        ],
    },
];

/// What the critic says about a finding; `{}` is its first words.
pub const REVIEWS: &[&str] = &[
    "\"{}\" sounds right. Which source would you show somebody who doubts it?",
    "I accept \"{}\", but one figure is missing: how large is the error?",
    "\"{}\" is true on average. What about the worst case?",
    "Good. I would put \"{}\" first, people read only the beginning.",
    "I tried to refute \"{}\" and could not. Keep it.",
];

/// How the planner closes a talk; `{}` is the topic.
pub const CLOSINGS: &[&str] = &[
    "That is enough for {}. Shall we write it down?",
    "We have a plan for {}. Any objection before I close this thread?",
    "Summary of {} is ready. May I file it?",
];

/// How the critic answers that.
pub const VERDICTS: &[&str] = &[
    "No objection. File it.",
    "Yes, with one footnote about what we did not check.",
    "Agreed. Next subject, please.",
];

/// What the researcher says when it takes up work on its own.
pub const TAKEN_UP: &[&str] =
    &["I looked into it: {}", "First result: {}", "Found something that changes the plan a little: {}"];
