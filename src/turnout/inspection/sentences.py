"""What the page says, for somebody who never read of routed experts."""

from turnout.inspection.counts import SEED, SHUFFLES
from turnout.inspection.markup import percent
from turnout.inspection.statistics import STARVED

HOW_TO_READ = (
    "A model of routed experts has, in some of its layers, several networks in the place of "
    "one: the experts. Sound reaches the encoder as frames, short moments of it, and each "
    "frame takes one expert in each such layer; the decoder, which writes the text, does the "
    "same for each token, a word or a piece of one. What chooses is the router. This page "
    "shows what was chosen, how sure of it the routers were, and what the choice goes by."
)
KINDS = {
    "dense": "Dense: there are no experts; every {unit} takes the same way.",
    "switch": "Switch: in each layer a router of its own, which was learned, chooses for each "
    "{unit}.",
    "omni": "Omni-router: one router, which was learned and is shared by the layers, chooses for "
    "each {unit}.",
    "supervised": "Supervised (S-MoE): what is known beforehand, such as the bandwidth or the "
    "task, is the choice; nothing is learned and every layer takes the same expert.",
    "hybrid": "Hybrid: what is known beforehand chooses a group of experts, and a learned router "
    "one of the group for each {unit}.",
}
TIMELINES = [
    "Above is what was said, over the sound as a spectrogram (low tones at the bottom, loud is "
    "dark); below it, a row for each layer, coloured by the expert that each moment took. Where a "
    "row has no colour, nothing was there to be routed.",
]
LOAD = [
    "Which share of the frames each expert took. Balance is 1 where all experts (of a hybrid: all "
    "of the group) take alike and 0 where one takes everything. Mean stretch is how long a layer "
    "stays on one expert before it changes. Below each bar are the shares in percent, in the order "
    "of the experts.",
]
BY_KIND = [
    "The same bars, apart for each kind of recording: where they differ, experts have settled on "
    "a kind. The language is the one that cuts name, or else the one that was given or found.",
]
TROUBLES = [
    f"An expert that took nothing is dead; one of a learned router's that took less than "
    f"{percent(STARVED)} of an equal share is starved.",
]
AGREEMENT = [
    "Whether one layer's choice tells another's, whatever the experts are called: 1 where it tells "
    "all, 0 where it tells no more than chance. Experts that agree through the layers form paths, "
    "which is what a shared router is meant for.",
    f"Chance is what the same choices give once one of the two layers is moved in time within each "
    f"recording, by at least a quarter of it ({SHUFFLES} times, seed {SEED}).",
]
PURPOSES = [
    "How much of the choice of expert is known from the letter that is being said, from whether "
    "there is sound, and from the speaker (of cuts that name one): 100 % where that decides it.",
    f"'Shuffled' is what the same would give by chance ({SHUFFLES} times, seed {SEED}): letters "
    "and silence are moved in time within each recording, speakers change places among the "
    "recordings of one kind, such as a language (a speaker of one recording, or the only one of a "
    "kind, cannot be told from it, and both are alike). "
    "Only what lies well above it means anything. Letters have their times from the alignment of "
    "the text; inside a token, which may be a whole word, they share its time evenly.",
]
CHOICES_ALONE = (
    "How sure the router was is not known: ONNX graphs tell which expert was taken and nothing of "
    "the others. Run again with --backend torch, where the model has its weights, and the load has "
    "a column for it."
)
NOT_TOLD = (
    "The decoder's routers choose for each token too, but ONNX graphs do not tell what: run again "
    "with --backend torch."
)
DOUBT = (
    "Doubt is how undecided the routers were on average (the entropy of their probabilities): 0 "
    "where they gave one expert everything, 1 where all seemed alike to them. Beside a balance "
    "near 1, low doubt means that experts are told apart; high doubt that they hardly are."
)
NO_ROUTING = "There is no routing in this model."
NOTHING = "There was nothing to be routed: no speech was found."
NO_AGREEMENT = (
    "Where nothing is learned every layer takes the expert that was decided beforehand, and a "
    "single layer has none to agree with: there is nothing to measure."
)
NAMED = "Where nothing is learned, experts are for what they are named after."
