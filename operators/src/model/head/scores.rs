//! A score per class: softmax, and the best few.

/// The `top` best classes with their scores, best first; of equals the first one. With `softmax`, what is
/// told is each class's share of the whole.
pub(crate) fn read(scores: &[f32], softmax: bool, top: usize) -> Vec<(usize, f32)> {
    let mut best: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    let better = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if top < best.len() {
        best.select_nth_unstable_by(top, better);
        best.truncate(top);
    }
    best.sort_unstable_by(better);
    if softmax {
        // The greatest is taken off first, so none overflows.
        let greatest = best.first().map_or(0.0, |(_, score)| *score);
        let sum: f64 = scores.iter().map(|score| f64::from(score - greatest).exp()).sum();
        best.iter_mut().for_each(|(_, s)| *s = (f64::from(*s - greatest).exp() / sum) as f32);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    fn twin(scores: &[f32], softmax: bool, top: usize) -> Vec<(usize, f64)> {
        let exps: Vec<f64> = scores.iter().map(|&s| f64::from(s).exp()).collect();
        let sum: f64 = exps.iter().sum();
        let value = |i: usize| if softmax { exps[i] / sum } else { f64::from(scores[i]) };
        let mut all: Vec<_> = (0..scores.len()).map(|i| (i, value(i))).collect();
        all.sort_by(|a, b| scores[b.0].partial_cmp(&scores[a.0]).unwrap().then(a.0.cmp(&b.0)));
        all.truncate(top);
        all
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(34);
        for round in 0..200 {
            let classes = 1 + noise.below(50);
            // Few levels, so that ties are common.
            let scores: Vec<f32> = (0..classes).map(|_| noise.below(30) as f32 - 15.5).collect();
            let (softmax, top) = (round % 2 == 0, 1 + noise.below(classes));
            let (ours, twin) = (read(&scores, softmax, top), twin(&scores, softmax, top));
            assert_eq!(ours.len(), twin.len(), "round {round}");
            for ((class, score), (wanted, exact)) in ours.into_iter().zip(twin) {
                assert_eq!(class, wanted, "round {round}");
                assert!((f64::from(score) - exact).abs() < 1e-6, "round {round}");
            }
        }
    }

    #[test]
    fn huge_scores_do_not_overflow() {
        assert_eq!(read(&[3e38, -3e38, 3e38], true, 2), [(0, 0.5), (2, 0.5)]);
    }
}
