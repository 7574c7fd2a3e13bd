//! Text by connectionist temporal classification: a distribution over characters per step along a line.
//!
//! After Graves et al., 2006, read greedily: the best character of each step; what repeats is one, and
//! what is "none" separates.

/// The text that `steps`, `[steps, 1 + characters]`, say, and how sure it is: the mean of the
/// probabilities of the characters that are told, or 0 for no text. With `softmax`, a step's values still
/// have to be made a distribution.
pub(crate) fn read(steps: &[f32], alphabet: &[String], softmax: bool) -> (String, f32) {
    let mut text = String::new();
    let (mut sum, mut told) = (0.0_f64, 0_u32);
    let mut before = 0;
    for step in steps.chunks_exact(1 + alphabet.len()) {
        let best = best(step);
        if best != 0 && best != before {
            text.push_str(&alphabet[best - 1]);
            sum += if softmax { share(step, best) } else { f64::from(step[best]) };
            told += 1;
        }
        before = best;
    }
    let score = if told == 0 { 0.0 } else { (sum / f64::from(told)) as f32 };
    (text, score)
}

/// The first of the best. An alphabet may have twenty thousand characters: the greatest value by whole
/// chunks, which vectorises, and only then where it is.
fn best(step: &[f32]) -> usize {
    const LANES: usize = 16;
    let mut greatest = [f32::NEG_INFINITY; LANES];
    let mut chunks = step.chunks_exact(LANES);
    for chunk in &mut chunks {
        greatest.iter_mut().zip(chunk).for_each(|(g, &v)| *g = if v > *g { v } else { *g });
    }
    let rest = chunks.remainder().iter();
    let greatest = greatest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    step.iter().position(|&value| value == greatest).unwrap_or(0)
}

fn share(step: &[f32], of: usize) -> f64 {
    let sum: f64 = step.iter().map(|value| f64::from(value - step[of]).exp()).sum();
    1.0 / sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// By the definition: a label per step, then repeats go, then blanks.
    fn twin(steps: &[f32], alphabet: &[String], softmax: bool) -> (String, f64) {
        let width = alphabet.len() + 1;
        let labels: Vec<(usize, f64)> = (0..steps.len() / width)
            .map(|t| {
                let step = &steps[t * width..(t + 1) * width];
                let mut label = 0;
                for k in 1..width {
                    if step[k] > step[label] {
                        label = k;
                    }
                }
                let sum: f64 = step.iter().map(|&v| f64::from(v).exp()).sum();
                let value = f64::from(step[label]);
                (label, if softmax { value.exp() / sum } else { value })
            })
            .collect();
        let mut path = labels.clone();
        path.dedup_by_key(|(label, _)| *label);
        path.retain(|(label, _)| *label != 0);
        let text = path.iter().map(|(label, _)| alphabet[label - 1].as_str()).collect();
        let sum: f64 = path.iter().map(|(_, p)| p).sum();
        (text, if path.is_empty() { 0.0 } else { sum / path.len() as f64 })
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(35);
        for round in 0..300 {
            let characters = 1 + noise.below(60);
            let alphabet: Vec<String> =
                (0..characters).map(|i| char::from(b'0' + i as u8).to_string()).collect();
            let length = noise.below(40);
            // Few levels, so that ties and repeats are common.
            let steps: Vec<f32> =
                (0..length * (1 + characters)).map(|_| noise.below(6) as f32 / 2.0).collect();
            let softmax = round % 2 == 0;
            let ((text, score), (wanted, exact)) =
                (read(&steps, &alphabet, softmax), twin(&steps, &alphabet, softmax));
            assert_eq!(text, wanted, "round {round}");
            assert!((f64::from(score) - exact).abs() < 1e-6, "round {round}: {score}, {exact}");
        }
    }

    #[test]
    fn repeats_are_one_and_blanks_separate() {
        let alphabet: Vec<String> = ["a", "b", " "].map(String::from).to_vec();
        let step = |label: usize| (0..4).map(move |k| if k == label { 0.75 } else { 0.0 });
        let steps = |labels: &[usize]| labels.iter().flat_map(|&l| step(l)).collect::<Vec<f32>>();
        assert_eq!(read(&steps(&[0, 1, 1, 0, 1, 2, 3, 3, 2]), &alphabet, false), ("aab b".into(), 0.75));
        assert_eq!(read(&steps(&[0, 0]), &alphabet, false), (String::new(), 0.0));
        assert_eq!(read(&[], &alphabet, false), (String::new(), 0.0));
    }
}
