"""What each distance is called, which way it improves, what it says and where it is from."""

from __future__ import annotations

from dataclasses import dataclass

from core.evaluation.measures import Better

_TSGBENCH = "TSGBench: Ang et al. 2023"
_CONT = "Cont 2001"
_NAEEM = "Naeem et al. 2020, by the library prdc, k = 5"
_SKTIME = "Sakoe and Chiba 1978, by the library sktime"


@dataclass(frozen=True)
class Description:
    """The words of a `Measure`."""

    title: str
    group: str
    meaning: str
    source: str
    better: Better = "lower"
    ideal: float = 0.0


DESCRIPTIONS = {
    "marginal_distribution_difference": Description(
        "Marginal distribution difference (MDD)",
        "marginal",
        "How much the histograms of the values at each step differ.",
        f"{_TSGBENCH}; 50 bins, densities",
    ),
    "kolmogorov_smirnov": Description(
        "Kolmogorov-Smirnov distance",
        "marginal",
        "The largest gap between the shares of real and of synthetic values below any limit, from 0 to 1.",
        "Kolmogorov 1933, Smirnov 1948; scipy.stats.ks_2samp",
    ),
    "wasserstein": Description(
        "Wasserstein-1 distance",
        "marginal",
        "How far values must be moved on average to turn the synthetic distribution into the real one.",
        "Kantorovich 1942; scipy.stats.wasserstein_distance",
    ),
    "skewness_difference": Description(
        "Skewness difference (SD)",
        "marginal",
        "How much the lopsidedness of the values' distribution differs.",
        _TSGBENCH,
    ),
    "kurtosis_difference": Description(
        "Kurtosis difference (KD)",
        "marginal",
        "How much the weight of extreme values differs.",
        _TSGBENCH,
    ),
    "autocorrelation_difference": Description(
        "Autocorrelation difference (ACD)",
        "temporal",
        "How much it differs to what degree a value tells the later ones of its window.",
        _TSGBENCH,
    ),
    "spectral_difference": Description(
        "Log spectral distance",
        "temporal",
        "By how many decibels the power of fast and slow movements inside windows differs.",
        "Gray and Markel 1976; scipy.signal.periodogram",
    ),
    "correlational_score": Description(
        "Correlational score",
        "dependence",
        "How much the correlations of all pairs of features differ in sum; for comparison on the same data.",
        "Diffusion-TS: Yuan and Qiao 2024, code Utils/cross_correlation.py",
    ),
    "correlation_difference": Description(
        "Correlation difference",
        "dependence",
        "How much the correlation of a pair of features differs on average.",
        "mean absolute difference of Pearson's correlation matrices",
    ),
    "mmd": Description(
        "Maximum mean discrepancy (MMD)",
        "sample",
        "How far the windows as a whole are from coming from one distribution; a little above 0 even then.",
        "Gretton et al. 2012, equation 5; Gaussian kernel, its width the median distance of real windows",
    ),
    "sliced_wasserstein": Description(
        "Sliced Wasserstein distance",
        "sample",
        "How far windows must be moved on average, seen from 200 random directions.",
        "Bonneel et al. 2015",
    ),
    "context_fid": Description(
        "Context-FID",
        "sample",
        "How far the windows are in the eyes of a network that learned what real windows are like.",
        "Jeha et al. 2022; TS2Vec: Yue et al. 2022",
    ),
    "nearest_euclid_to_real": Description(
        "Synthetic to nearest real, Euclid",
        "sample",
        "How far a synthetic window is from the real one most like it; far below the reference: a copy.",
        "Euclidean distance of flat windows",
    ),
    "nearest_euclid_to_synthetic": Description(
        "Real to nearest synthetic, Euclid",
        "sample",
        "How far a real window is from the synthetic one most like it; large if some kinds are missing.",
        "Euclidean distance of flat windows",
    ),
    "nearest_dtw_to_real": Description(
        "Synthetic to nearest real, time-warped",
        "sample",
        "The same as Euclid's, where a shape may come earlier or later; of at most 300 windows.",
        _SKTIME,
    ),
    "nearest_dtw_to_synthetic": Description(
        "Real to nearest synthetic, time-warped",
        "sample",
        "The same as Euclid's, where a shape may come earlier or later; of at most 300 windows.",
        _SKTIME,
    ),
    "precision": Description(
        "Precision",
        "sample",
        "The share of synthetic windows that lie where real ones are.",
        "Kynkäänniemi et al. 2019, by the library prdc, k = 5",
        "higher",
        1.0,
    ),
    "recall": Description(
        "Recall",
        "sample",
        "The share of real windows that lie where synthetic ones are.",
        "Kynkäänniemi et al. 2019, by the library prdc, k = 5",
        "higher",
        1.0,
    ),
    "density": Description(
        "Density",
        "sample",
        "How crowded synthetic windows are around real ones; above 1 they flock where most real ones are.",
        _NAEEM,
        "closer",
        1.0,
    ),
    "coverage": Description(
        "Coverage",
        "sample",
        "The share of real windows that have a synthetic one in their neighbourhood.",
        _NAEEM,
        "higher",
        1.0,
    ),
    "tail_index_difference": Description(
        "Fat tails",
        "stylised facts",
        "How much it differs how heavy the tails of the returns are.",
        f"{_CONT}, fact 2; Hill 1975",
    ),
    "volatility_clustering_difference": Description(
        "Volatility clustering",
        "stylised facts",
        "How much it differs to what degree large moves follow large moves.",
        f"{_CONT}, fact 6",
    ),
    "leverage_difference": Description(
        "Leverage effect",
        "stylised facts",
        "How much it differs to what degree falling prices are followed by larger moves.",
        f"{_CONT}, fact 9",
    ),
    "return_autocorrelation_difference": Description(
        "Autocorrelation of returns",
        "stylised facts",
        "How much it differs to what degree a return tells the next ones, which in markets is hardly.",
        f"{_CONT}, fact 1",
    ),
}
"""By the measure's name, in the order of a report."""
