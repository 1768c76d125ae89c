// The point of reference of the statistical tests and its closed-form values, computed independently of this code (quadrature in another
// language, confirmed by simulation): B = (.3, -.2, .5, .1) with eps = .7. Matrices are d E y_i / d theta_j.
#pragma once

#include "closed_forms.h"

namespace perturb::test::reference {

inline constexpr perturb_distribution all_distributions[] = {PERTURB_NORMAL, PERTURB_GUMBEL, PERTURB_LOGISTIC, PERTURB_LAPLACE};
inline const doubles B{0.3, -0.2, 0.5, 0.1};
inline constexpr float B_eps = 0.7f;

inline const doubles argmax_table[4] = {{.2890463281, .1009565817, .4151034044, .1948936858},
                                        {.2799762798, .1370600527, .3725678506, .2103958169},
                                        {.2779673912, .1546580642, .3461551001, .2212194444},
                                        {.2824407009, .1249891102, .3891852818, .2033849072}};
inline const doubles top_2_gumbel{.5652957238, .3082615301, .6758863832, .4505563630};
inline const doubles top_3_gumbel{.8260754498, .5467398979, .8926436869, .7345409653};
inline const doubles top_2_normal{.5791433217, .2769964596, .6949651965, .4488950221};
inline const doubles top_3_normal{.8250577171, .5494771459, .8871509764, .7383141605};
inline const doubles rank_gumbel{2.6713474535, 1.9920614807, 2.9410979207, 2.3954931452};
inline const doubles rank_normal{2.6932473669, 1.9274301873, 2.9972195773, 2.3821028685};

inline doubles symmetric(const doubles& upper, size_t n) {
  doubles full(n * n);
  size_t next = 0;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = i; j < n; ++j) full[i * n + j] = full[j * n + i] = upper[next++];
  return full;
}
inline const doubles J_argmax_gumbel = symmetric({.2879850894, -.0548193767, -.1490145154, -.0841511973, .1689637066, -.0729488132,
                                                  -.0411955168, .3339443533, -.1119810247, .2373277388},
                                                 4);
inline const doubles J_argmax_normal = symmetric({.3890554609, -.0673927792, -.2068186861, -.1148439957, .2051554062, -.0873543007,
                                                  -.0504083263, .4447316369, -.1505586502, .3158109721},
                                                 4);
inline const doubles J_top_2_gumbel = symmetric(
    {.4170885198, -.117538537, -.1410868303, -.1584631524, .3310693283, -.1118158972, -.101714894, .3953168735, -.142414146, .4025921925},
    4);
inline const doubles J_top_2_normal = symmetric(
    {.4598516871, -.1406920394, -.137099284, -.1820603637, .3962853145, -.1246448362, -.1309484389, .4137837422, -.152039622, .4650484245},
    4);
inline const doubles J_rank_gumbel = symmetric({1.0151045871, -.3152000717, -.3499522577, -.3499522577, .937306968, -.2808741903,
                                                -.3412327059, .9603310313, -.3295045832, 1.0206895468},
                                               4);
inline const doubles J_rank_normal = symmetric({1.1444367489, -.3547335978, -.3948515755, -.3948515755, 1.0534907434, -.313850921,
                                                -.3849062246, 1.0801046498, -.3714021532, 1.1511599533},
                                               4);

}  // namespace perturb::test::reference
