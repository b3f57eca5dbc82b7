"""What the page cites."""

REFERENCES = (
    "Kovalev V., Voynov D. Influence of Control Parameters and the Size of Biomedical Image Datasets on the Success of "
    "Adversarial Attacks. 2019. arXiv 1904.06964. (The reference study.)",
    "Madry A., Makelov A., Schmidt L., Tsipras D., Vladu A. Towards Deep Learning Models Resistant to Adversarial "
    "Attacks. ICLR 2018. arXiv 1706.06083.",
    "Kurakin A., Goodfellow I., Bengio S. Adversarial Examples in the Physical World. ICLR Workshop 2017. "
    "arXiv 1607.02533.",
    "Croce F., Hein M. Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
    "Parameter-free Attacks. "
    "ICML 2020. arXiv 2003.01690.",
    "Carlini N. et al. On Evaluating Adversarial Robustness. 2019. arXiv 1902.06705.",
    "Pintor M. et al. Indicators of Attack Failure: Debugging and Improving Optimization of Adversarial Examples. "
    "NeurIPS 2022. arXiv 2106.09947.",
    "Simonsohn U., Simmons J. P., Nelson L. D. Specification Curve Analysis. Nature Human Behaviour 4 (2020) "
    "1208–1214.",
    "Wilson E. B. Probable Inference, the Law of Succession, and Statistical Inference. J. Am. Stat. Assoc. 22 "
    "(1927) 209–212.",
    "Davison A. C., Hinkley D. V. Bootstrap Methods and their Application. Cambridge University Press, 1997.",
    "Liang K.-Y., Zeger S. L. Longitudinal Data Analysis Using Generalized Linear Models. Biometrika 73 (1986) 13–22.",
)
