/* perturb: differentiable perturbed optimizers. The whole C API (C99) and its reference documentation.
 *
 * A perturbed optimizer solves a discrete problem under many random perturbations and averages:
 *
 *     y_eps(theta) = E[ y*(theta + eps Z) ],     F_eps(theta) = E[ max_{y in Y} <y, theta + eps Z> ]
 *
 * which is smooth in theta although y* is piecewise constant (Berthet et al., "Learning with Differentiable Perturbed
 * Optimizers", NeurIPS 2020, section 2; called "Berthet" below). Three independent choices make a call:
 * an oracle (which y*), a noise (which Z, how many samples) and an estimator (the function called).
 *
 * Conventions, true of every function unless it says otherwise
 *   - Arrays are dense, row-major float32. Sizes are int64_t. [batch, n] means batch rows of n. Floats need 4-byte alignment only.
 *   - Pointers are host pointers on a CPU context and device pointers on a CUDA context. Calls on a CPU context are synchronous;
 *     calls on a CUDA context are asynchronous on the context's stream and can be captured in a CUDA graph: give the context a
 *     workspace, and let context, oracle and workspace outlive the graph.
 *   - The caller owns every array. Nothing is kept after a call returns. Input and output arrays may not overlap.
 *   - An oracle is an optimizer   y*(theta) = argmax_{y in Y} <y, theta>   (sense MAXIMIZE, theta is a score)
 *                            or   y*(theta) = argmin_{y in Y} <y, theta>   (sense MINIMIZE, theta is a cost).
 *     Noise is added to the score: theta + eps Z when maximising, theta - eps Z when minimising.
 *     Derivatives are with respect to the array that the caller passed. Ties go to the lowest index.
 *   - Every function returns a status; no exception, abort or output crosses the boundary. Arguments are checked before any work:
 *     a call that fails has written nothing, and perturb_last_error() has one sentence that names the argument, what was
 *     expected and what came.
 *   - batch = 0 succeeds and does nothing. Products of sizes must not overflow; first_row + batch and first_sample + samples
 *     are at most 2^32.
 *   - Option structs start with struct_size. PERTURB_<NAME>_INIT sets it, and the defaults. A later version of the library
 *     appends fields and keeps accepting the sizes of earlier versions.
 *   - The same arguments give the same bits: for any number of threads, on every instruction set and backend, and for any split of
 *     the rows over calls. Every sample is the same however samples are split over calls, and so are counts made from them; other
 *     means of split samples agree to rounding (docs/determinism.md).
 *   - NaN or infinity in an input array is PERTURB_ERROR_NON_FINITE on a CPU context. On a CUDA context nothing looks at arrays before
 *     the call returns: a row whose contents the CPU would refuse (these, a bad epsilon_per_item or epsilon_per_row, noise out of range, theta and
 *     epsilon beyond float,
 *     targets above 2^31, a perturbed cost that NEGATIVE_ERROR refuses) has NaN in all its outputs; other rows are not affected.
 */
#ifndef PERTURB_PERTURB_H
#define PERTURB_PERTURB_H

#include <stddef.h>
#include <stdint.h>

#define PERTURB_VERSION_MAJOR 0
#define PERTURB_VERSION_MINOR 1
#define PERTURB_VERSION_PATCH 0
#define PERTURB_VERSION (PERTURB_VERSION_MAJOR * 10000 + PERTURB_VERSION_MINOR * 100 + PERTURB_VERSION_PATCH)

#if defined(_WIN32)
#define PERTURB_API
#else
#define PERTURB_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ================================================================ version, status */

/* The version of the library that is loaded: major*10000 + minor*100 + patch. Compare with PERTURB_VERSION, the header's. */
PERTURB_API uint32_t perturb_version(void);

/* What a call returns. The hundred is the class (1xx argument, 2xx not offered, 3xx memory, 4xx CUDA, 5xx callback, 6xx numeric,
 * 9xx a defect of the library); numbers never change. */
typedef enum perturb_status {
  PERTURB_OK = 0,
  PERTURB_ERROR_INVALID_ARGUMENT = 100,    /* a null pointer, an enum or a size out of range, epsilon < 0, k > n ... */
  PERTURB_ERROR_INVALID_STRUCT = 101,      /* struct_size is not one that this library knows */
  PERTURB_ERROR_NON_FINITE = 110,          /* NaN or infinity in an input array, found on the host (CPU context) */
  PERTURB_ERROR_UNREACHABLE = 111,         /* a target that no path reaches */
  PERTURB_ERROR_UNSUPPORTED = 200,         /* a valid request that this oracle, backend or version does not offer */
  PERTURB_ERROR_BACKEND_UNAVAILABLE = 201, /* no CUDA device or driver, or a library built without CUDA */
  PERTURB_ERROR_OUT_OF_MEMORY = 300,
  PERTURB_ERROR_WORKSPACE_TOO_SMALL = 301, /* perturb_last_error() names the bytes needed */
  PERTURB_ERROR_CUDA = 400,
  PERTURB_ERROR_CALLBACK = 500, /* a solver or a cost function of the caller's failed */
  PERTURB_ERROR_NOT_CONVERGED = 600,
  PERTURB_ERROR_INTERNAL = 900
} perturb_status;

/* The enumerator's name, "PERTURB_OK" ...; "PERTURB_STATUS_UNKNOWN" for any other number. Never NULL. */
PERTURB_API const char* perturb_status_name(perturb_status status);

/* One sentence about this thread's last failure; "" if its last call succeeded. Valid until this thread's next call. Never NULL. */
PERTURB_API const char* perturb_last_error(void);

/* ================================================================ context: where the work runs */

/* Backend, threads or stream, allocator and workspace. Use a context from one thread at a time, like a cuBLAS handle; any number
 * of contexts may work side by side. */
typedef struct perturb_context perturb_context;

typedef enum perturb_backend {
  PERTURB_BACKEND_AUTO = 0, /* CUDA where a device works, else the CPU */
  PERTURB_BACKEND_CPU = 1,
  PERTURB_BACKEND_CUDA = 2
} perturb_backend;

/* Optional. All memory of a context comes from here: its own state and, where no workspace is set, the scratch of each call.
 * `allocate` returns memory aligned to `alignment` (a power of two, at most 256), or NULL; `deallocate` gets the same bytes back.
 * Both or neither must be set. They are called on the thread that makes the call, with `user` as given. */
typedef struct perturb_allocator {
  void* (*allocate)(size_t bytes, size_t alignment, void* stream, void* user);
  void (*deallocate)(void* pointer, size_t bytes, void* stream, void* user);
  void* user;
} perturb_allocator;

typedef struct perturb_context_options {
  uint32_t struct_size;
  perturb_backend backend;
  int32_t device;                     /* CUDA ordinal, -1: the current one; ignored on the CPU */
  int32_t threads;                    /* CPU threads, 0: one per processor; at most 1024 */
  void* stream;                       /* cudaStream_t, NULL: the default stream; ignored on the CPU */
  perturb_allocator device_allocator; /* zero: cudaMallocAsync */
  perturb_allocator host_allocator;   /* zero: aligned operator new */
} perturb_context_options;
/* Defaults: AUTO, the current device, all processors, the default stream, the default allocators. */
#define PERTURB_CONTEXT_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_context_options), PERTURB_BACKEND_AUTO, -1, 0, NULL, {NULL, NULL, NULL}, {NULL, NULL, NULL} }

/* Makes a context; the caller destroys it. options: NULL for the defaults.
 * INVALID_ARGUMENT, INVALID_STRUCT, BACKEND_UNAVAILABLE (CUDA asked for and not there), OUT_OF_MEMORY; *context is then NULL. */
PERTURB_API perturb_status perturb_context_create(const perturb_context_options* options, perturb_context** context);

/* Frees a context and joins its threads. NULL is fine. Oracles are not affected. */
PERTURB_API void perturb_context_destroy(perturb_context* context);

/* Sets the stream of the calls that follow. On a CPU context only NULL is accepted. */
PERTURB_API perturb_status perturb_context_set_stream(perturb_context* context, void* stream);

/* Lends memory to the context: calls then allocate nothing. Host memory on a CPU context, device memory on a CUDA context, any
 * alignment. It must live until it is taken back (NULL, 0) or the context is destroyed. A call that needs more fails with
 * WORKSPACE_TOO_SMALL before any work, and perturb_last_error() names the bytes. */
PERTURB_API perturb_status perturb_context_set_workspace(perturb_context* context, void* memory, size_t bytes);

/* Lends arrays of [batch] entries, one per row of the calls that follow, until they are taken back (NULL, NULL): host memory on a CPU context,
 * device memory on a CUDA context. Either may be NULL. Every call on rows of theta writes them, with every oracle, but for accumulators and
 * perturb_expectation_adaptive, which do not look at them: their rows come in several calls, and share the number of samples.
 * status: a row whose contents a call would refuse no longer stops its batch. Its outputs are NaN, the other rows' are what they would be without it, and
 *   status[b] is PERTURB_ERROR_NON_FINITE (NaN, infinity or a number beyond what the call takes in its theta or operand, or in a distance made of its query),
 *   PERTURB_ERROR_INVALID_ARGUMENT (a perturbed cost that NEGATIVE_ERROR refuses) or PERTURB_OK; on CUDA contexts PERTURB_ERROR_CALLBACK where a solver or a
 *   cost function of the caller's left an entry that is not finite, which on CPU contexts fails the call. A point of nearest neighbours that is not finite is
 *   in every row. gradient_points is then summed over the rows that are OK, and NaN in such a point. Solvers and cost functions are not given refused rows on
 *   CPU contexts, are given zeros for them on CUDA contexts, and are told row numbers, which sentences count too, from the caller's first row. A call that
 *   fails for another reason may have written status, and other rows.
 * clamped: how many perturbed costs of the row, over all samples and cells that are no walls, were below cost_floor and taken as it: 0 for other oracles,
 *   for rows that are not OK and for LPGD and its family. Counting makes the noise once more.
 * Whether targets can be reached is known when a grid is created. */
PERTURB_API perturb_status perturb_context_set_row_status(perturb_context* context, int32_t* status, int64_t* clamped);

/* The backend that the context runs on: CPU or CUDA, never AUTO. AUTO for NULL. */
PERTURB_API perturb_backend perturb_context_backend(const perturb_context* context);

/* ================================================================ oracles: what is optimised */

/* An immutable description of a problem class; may be shared by threads and contexts (a custom oracle if its solver is thread-safe). n is
 * the input size, m the output size.
 * The first call with a grid or with tables on a CUDA device copies masks (2 bytes per cell) and tables (16 bytes per row, 4 per cell of a
 * set) there, by cudaMalloc, also where a workspace is set; they stay until the oracle is destroyed, which must not happen while calls or
 * graphs that use it are still to run. */
typedef struct perturb_oracle perturb_oracle;

typedef enum perturb_sense { PERTURB_MAXIMIZE = 0, PERTURB_MINIMIZE = 1 } perturb_sense;

/* argmax: y in {0,1}^n is one-hot at the largest score. m = n. 1 <= n <= 2^31 - 1. Ties: the lowest index.
 * With Gumbel noise y_eps is softmax(theta/eps). */
PERTURB_API perturb_status perturb_argmax_create(int64_t n, perturb_oracle** oracle);

/* top-k: y in {0,1}^n has k ones, at the k largest scores. m = n. 1 <= k <= n <= 2^31 - 1. Ties: the lowest index. */
PERTURB_API perturb_status perturb_top_k_create(int64_t n, int64_t k, perturb_oracle** oracle);

/* top-k whose k differs by row: row r of the problem has k[r] ones. k: host [rows], 1..n each, copied; 1 <= rows <= 2^32.
 * Rows of tables, here and in perturb_grid_path_options: row b of a call is row first_row + b of the problem (b where a call takes no noise).
 * A call with rows past the last, first_row + batch > rows, is INVALID_ARGUMENT. A row has the bits that the oracle of that row alone gives. */
PERTURB_API perturb_status perturb_top_k_rows_create(int64_t n, int64_t rows, const int64_t* k, perturb_oracle** oracle);

typedef struct perturb_rank_options {
  uint32_t struct_size;
  int32_t descending; /* 0: the largest score has the largest rank; 1: it has the smallest */
  int32_t base;       /* the smallest rank, 0 or 1 */
} perturb_rank_options;
/* Defaults: ascending, base 1. */
#define PERTURB_RANK_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_rank_options), 0, 1 }

/* Ranks: y is a permutation of base..base+n-1. m = n. 1 <= n <= 2^31 - 1. Among equal scores the lowest index has the lowest rank,
 * in both directions. options: NULL for the defaults.
 * Ascending ranks are argmax_{y in permutations} <y, theta>. Descending ranks are the argmin of the same: theta is still a score and
 * noise is added to it; the value is E min <y, s> and the Fenchel-Young loss <t,s> - <y,s>.
 * Solves, epsilon = 0 and n > 512 order the floats exactly, with -0 = +0. A perturbed rank with n <= 512 may exchange items
 * whose scores lie closer than 4 quanta of 2^-23 of the row's score range, in the same way on every backend (docs/noise.md). */
PERTURB_API perturb_status perturb_rank_create(int64_t n, const perturb_rank_options* options, perturb_oracle** oracle);

/* Sort: y in {0,1}^(n x n) is a permutation matrix by position, y[j*n + i] = 1 where item i is at position j of the scores' order: ascending,
 * or with descending = 1 the largest first. m = n*n <= 2^31 - 1. Among equal scores the lowest index comes first, in both directions. The order is
 * that of perturb_rank_create with base 0, rounding of perturbed scores included: position j holds the item of rank j.
 * y_mean[j, i] is the chance that item i is at position j (Gumbel noise, descending: that of Plackett and Luce); rows and columns sum to 1.
 * theta has n entries and y has m: there is no <y, theta>, so value, value_std_error, Fenchel-Young, LPGD, I-MLE and SPO+ are UNSUPPORTED. A loss
 * between orders is perturb_rank_create's. docs/sorting.md. */
PERTURB_API perturb_status perturb_sort_create(int64_t n, int32_t descending, perturb_oracle** oracle);

/* Ordered top-k: the first k positions of the descending order. y in {0,1}^(k x n), y[j*n + i] = 1 where item i is the j-th largest, j = 0..k-1.
 * m = k*n <= 2^31 - 1. 1 <= k <= n. Otherwise as perturb_sort_create. */
PERTURB_API perturb_status perturb_ordered_top_k_create(int64_t n, int64_t k, perturb_oracle** oracle);

typedef enum perturb_connectivity {
  PERTURB_CONNECT_4 = 4,
  PERTURB_CONNECT_8 = 8,
  PERTURB_CONNECT_8_NO_CORNER_CUTTING = 80 /* a diagonal step needs both orthogonal neighbours passable (MovingAI rule) */
} perturb_connectivity;

typedef enum perturb_negative_cost {
  PERTURB_NEGATIVE_CLAMP = 0, /* a perturbed cost below cost_floor becomes cost_floor */
  PERTURB_NEGATIVE_ERROR = 1  /* ... makes the call fail with INVALID_ARGUMENT, outputs untouched; on CUDA: NaN in that row's outputs */
} perturb_negative_cost;

typedef struct perturb_grid_path_options {
  uint32_t struct_size;
  int64_t height, width;            /* 1..4096 each */
  perturb_connectivity connectivity;
  float diagonal_factor;            /* cost of a diagonal step into v = diagonal_factor * cost[v]; in [1, 2] */
  int32_t count_source;             /* 1: a path's cost includes its source cell (Warcraft rule); 0: it does not */
  const uint8_t* passable;          /* host, [height, width], 0 is a wall; NULL: no walls; copied */
  int64_t source, target;           /* cell indices r*width + c */
  perturb_negative_cost negative;
  float cost_floor;                 /* > 0, finite; the least cost of a cell */
  /* Ends that differ by row: host [rows], copied; both or neither. source and target are then ignored. A search per distinct source. */
  int64_t rows;                     /* 0: every row has the same ends; at most 2^32 */
  const int64_t *row_sources, *row_targets;
  /* Sets, for all rows: a path starts at any of the sources and ends at any of the targets. Host, copied; in place of source, target. */
  int64_t source_count, target_count; /* 0: source, target; at most height * width */
  const int64_t *sources, *targets;
} perturb_grid_path_options;
/* Defaults: no size (set height and width), 8 neighbours, factor 1, source counted, no walls, from cell 0 to cell 0, clamp at 1e-6; neither
 * tables nor sets. */
#define PERTURB_GRID_PATH_OPTIONS_INIT                                                                                   \
  {                                                                                                                      \
    (uint32_t)sizeof(perturb_grid_path_options), 0, 0, PERTURB_CONNECT_8, 1.0f, 1, NULL, 0, 0, PERTURB_NEGATIVE_CLAMP,   \
        1e-6f, 0, NULL, NULL, 0, 0, NULL, NULL                                                                           \
  }

/* Shortest path on a grid: theta [height*width] is the cost of each cell (sense MINIMIZE), y in {0,1}^(height*width) marks the cells
 * of the path, both ends included. n = m = height*width. A step into cell v costs cost[v], times diagonal_factor on a diagonal.
 * The value is the path's cost with clamped costs, diagonal factors, and the source by option; under noise it is the cost under that
 * sample's costs. It is within 2e-5 relative of the optimum where (largest number of steps + 1) * largest cost is at most 10^4 times the
 * path's mean step cost; make walls with `passable`, not with huge costs (docs/noise.md, "Grid paths").
 * Among equally short paths: walking back from the target, the first predecessor in the order NW, N, NE, W, E, SW, S, SE.
 * Costs of walls are ignored (NaN included) and their gradients are 0. UNREACHABLE if an end is a wall or no path joins them.
 * Fenchel-Young needs value = <y, theta> up to a constant: UNSUPPORTED with diagonal_factor != 1, or with several sources that are not counted.
 * With sets the path is the cheapest from any source to any target, and has one cell of each set: it ends at the target of least distance, the
 * lowest cell among equal ones, and the walk back from there ends at the first source. Targets that no source reaches are left out;
 * UNREACHABLE if that is all of them, or if a cell of a set is a wall. Cells may come twice. Sets and rows together are UNSUPPORTED. */
PERTURB_API perturb_status perturb_grid_path_create(const perturb_grid_path_options* options, perturb_oracle** oracle);

/* A solver of the caller's: y[k] = y*(theta[k]) for `count` problems; returns 0. Any other number stops the call, which then fails with
 * PERTURB_ERROR_CALLBACK. theta holds finite scores (costs when minimising) that are already perturbed; y is to be filled. Both arrays are the
 * library's. user: as given in the options. docs/custom-solvers.md.
 *   solve, on CPU contexts: 1 to 128 problems at a time in host memory, which live until it returns. stream is NULL. An entry of y that is not
 *     written, or not finite, is PERTURB_ERROR_CALLBACK too. It may throw C++ exceptions (PERTURB_ERROR_CALLBACK).
 *   enqueue, on CUDA contexts: 1 to 65536 problems at a time in device memory. It puts its work on `stream` (the context's; its device is
 *     current) and returns without waiting; the arrays live until that work is done. It is called on the calling thread, while the call is made:
 *     in a captured graph only what it enqueued is replayed. A row whose y has an entry that is not written, or not finite, has NaN in all its
 *     outputs; a row whose inputs the CPU would refuse is handed over as zeros, and has NaN in all its outputs. Exceptions are as above. */
typedef int32_t (*perturb_solver)(int64_t count, const float* theta /* [count, n] */, float* y /* [count, m] */, void* stream, void* user);
typedef struct perturb_custom_options {
  uint32_t struct_size;
  int64_t n, m;           /* the sizes of theta and y, 1..2^31 - 1 each; they may differ */
  perturb_sense sense;    /* whether y maximises <y, theta> or minimises it: the sign of noise and derivatives */
  perturb_solver solve;   /* for host memory; NULL: calls on CPU contexts are UNSUPPORTED */
  void* user;             /* handed to solve and enqueue; must live as long as the oracle, and as graphs that captured calls with it */
  int32_t thread_safe;    /* 1: solve may be called from several threads at once; 0: it is called on the calling thread alone */
  perturb_solver enqueue; /* for device memory; NULL: calls on CUDA contexts are UNSUPPORTED */
} perturb_custom_options;
/* Defaults: no sizes and no solvers (set n, m, and solve or enqueue or both), maximise, not thread-safe. */
#define PERTURB_CUSTOM_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_custom_options), 0, 0, PERTURB_MAXIMIZE, NULL, NULL, 0, NULL }
/* An oracle whose solver is the caller's.
 * y is any vector of finite floats. The derivative estimators are right for every y that depends on the perturbed theta alone: nothing
 * here needs y to be a vertex, or optimal. What needs <y, theta> needs m = n, else UNSUPPORTED: value, value_std_error, Fenchel-Young, LPGD,
 * I-MLE, SPO+; a Fenchel-Young loss needs y to be the argmax (argmin) of <y, theta>, and a sample in which the target is better counts as 0.
 * The solver should give a problem the same y whatever other problems come with it. Results are then the same bits for any number of
 * threads, for either value of thread_safe, and, where solve and enqueue agree, on both backends; sums are in double precision, in a fixed
 * order. With thread_safe = 1 the rows of a call, and in a call of few rows every 128 samples of a row, are spread over the context's threads.
 * A solver may make calls on other contexts, never on the context that called it. Of several failures the first in the order of rows and
 * samples is reported. A call that fails has written nothing, except that a failing perturb_sample may have written some samples'
 * solutions; on a CUDA context what was enqueued before the failure still runs. Workspace: O(batch (n + m) + threads (n + m)), with m n for
 * n + m in the Jacobian; on a CUDA context some megabytes of problems in place of the threads. */
PERTURB_API perturb_status perturb_custom_create(const perturb_custom_options* options, perturb_oracle** oracle);

/* Frees an oracle. NULL is fine. No call may be using it. */
PERTURB_API void perturb_oracle_destroy(perturb_oracle* oracle);
PERTURB_API int64_t perturb_oracle_input_size(const perturb_oracle* oracle);  /* n; 0 for NULL */
PERTURB_API int64_t perturb_oracle_output_size(const perturb_oracle* oracle); /* m; 0 for NULL */

/* ================================================================ noise: how theta is perturbed */

/* iid coordinates; S(z) = -d log density / dz is the score that the derivative estimators use (Berthet, proposition 3.1).
 * The bits of every Z are a written specification: docs/noise.md.
 * GIVEN: estimators take samples as independent. If yours are not (quasi-random, mirrored), use baseline NONE and no standard errors. Sampling
 * must be IID, the mode ADDITIVE; perturb_noise_fill and accumulators are UNSUPPORTED. Entries out of range are INVALID_ARGUMENT (on CUDA:
 * NaN in that row's outputs). */
typedef enum perturb_distribution {
  PERTURB_NORMAL = 0,       /* S = z;            |z| <= 6.77 */
  PERTURB_GUMBEL = 1,       /* S = 1 - e^-z;     not centred: mean 0.5772 */
  PERTURB_LOGISTIC = 2,     /* S = tanh(z/2) */
  PERTURB_LAPLACE = 3,      /* S = sign z */
  PERTURB_SUM_OF_GAMMA = 4, /* (sum_{i=1..terms} Gamma(1/k, scale k/i) - log terms) / k: the sum of k of them tends to Gumbel noise, and so does
                               the noise of a y with k ones (Niepert et al. 2021). Not centred: its mean tends to 0.5772 / k.
                               k and terms: sum_of_gamma_k, sum_of_gamma_terms. No score: VJP, JVP and Jacobian are UNSUPPORTED */
  PERTURB_GIVEN = 5         /* the caller's own: z and z_score */
} perturb_distribution;

typedef enum perturb_mode {
  PERTURB_ADDITIVE = 0,      /* the perturbed score is fmaf(+-eps_i, z_i, theta_i): + when maximising, - when minimising */
  PERTURB_MULTIPLICATIVE = 1 /* theta_i * W_i, W_i = exp(eps_i z_i - eps_i^2/2), E W = 1, so signs are kept; NORMAL only, else
                                UNSUPPORTED (Dalle et al. 2022). Where theta_i = 0 the gradient entry is 0. */
} perturb_mode;

typedef enum perturb_sampling {
  PERTURB_SAMPLING_IID = 0,
  PERTURB_SAMPLING_ANTITHETIC = 1, /* samples 2j and 2j+1 mirror each other: Z and -Z; Gumbel: u and 1-u. samples and first_sample must be
                                      even. Standard errors are UNSUPPORTED: samples depend on each other */
  PERTURB_SAMPLING_LATIN = 2       /* Latin hypercube: each item's u are stratified over this call's samples, one in each of M equal intervals,
                                      in an order of its own. Every sample has the distribution asked for; together they cover it evenly, and
                                      means vary less. first_sample must be 0. UNSUPPORTED: SUM_OF_GAMMA, GIVEN, standard errors (samples
                                      depend on each other), accumulators (strata are a call's) */
} perturb_sampling;

/* What is subtracted in VJP, JVP and Jacobian. No choice biases the estimate. */
typedef enum perturb_baseline {
  PERTURB_BASELINE_LEAVE_ONE_OUT = 0, /* each sample's baseline is the mean of the others: (1/(M-1)) sum (r_m - r_bar) S_m; none at M = 1.
                                         Antithetic: as NONE; the pair cancels a baseline, and r_bar, which is not independent of Z_m, would bias.
                                         Latin: as NONE; the strata sum S_m to nearly 0, which does what a baseline does, and r_bar would bias */
  PERTURB_BASELINE_NONE = 1,          /* (1/M) sum r_m S_m */
  PERTURB_BASELINE_UNPERTURBED = 2    /* (1/M) sum (r_m - r(y*(theta))) S_m: for one sample, or an epsilon so small that most y_m are y*(theta) */
} perturb_baseline;

typedef struct perturb_noise {
  uint32_t struct_size;
  perturb_distribution distribution;
  perturb_mode mode;
  float epsilon;                 /* amplitude, >= 0, finite; 0 gives the hard solution and a zero gradient */
  const float* epsilon_per_item; /* [n] or NULL; eps_i = epsilon * epsilon_per_item[i], rounded to float. Entries >= 0, finite (checked on
                                    the host); where 0 the item is not perturbed and its gradient entry is 0 */
  int64_t samples;               /* M >= 1 */
  uint64_t seed;
  int64_t first_sample, first_row; /* where this call's samples and rows lie in the whole problem: shards of one problem use one seed */
  perturb_sampling sampling;
  perturb_baseline baseline;
  int32_t sum_of_gamma_k, sum_of_gamma_terms; /* SUM_OF_GAMMA: k in 1..2^20, the ones of y, and terms in 1..1000 (10 are usual); 0 otherwise */
  const float* epsilon_per_row;  /* [batch] or NULL; eps_b,i = (epsilon * epsilon_per_row[b]) * epsilon_per_item[i], each product rounded to float.
                                    Entries >= 0, finite; 0 gives that row its hard solution and a zero gradient. An array of this call:
                                    entry b is its row b, whatever first_row */
  const float* z;                /* GIVEN: the noise [batch, samples, n] of this call's rows and samples, |z| <= 64; NULL otherwise. Rows and
                                    samples are taken as they come: seed, first_sample and first_row do not matter */
  const float* z_score;          /* GIVEN: S of each z [batch, samples, n], |S| <= 32, for a density of your own -d log density / dz; or NULL:
                                    VJP, JVP and Jacobian are then UNSUPPORTED. NULL otherwise */
} perturb_noise;
/* Defaults: normal, additive, epsilon 1, 1000 iid samples, seed 0, leave-one-out. */
#define PERTURB_NOISE_INIT                                                                                                      \
  {                                                                                                                             \
    (uint32_t)sizeof(perturb_noise), PERTURB_NORMAL, PERTURB_ADDITIVE, 1.0f, NULL, 1000, 0, 0, 0, PERTURB_SAMPLING_IID,         \
        PERTURB_BASELINE_LEAVE_ONE_OUT, 0, 0, NULL, NULL, NULL                                                                  \
  }

typedef enum perturb_operation {
  PERTURB_OP_SOLVE = 0,
  PERTURB_OP_SAMPLE,
  PERTURB_OP_EXPECTATION,
  PERTURB_OP_VJP,
  PERTURB_OP_JVP,
  PERTURB_OP_JACOBIAN,
  PERTURB_OP_FENCHEL_YOUNG,
  PERTURB_OP_LPGD,
  PERTURB_OP_IMLE,
  PERTURB_OP_SPO_PLUS,
  PERTURB_OP_SORTED_VALUES = 10,
  PERTURB_OP_SORTED_VALUES_VJP = 11,
  PERTURB_OP_VJP_EPSILON = 12,
  PERTURB_OP_COVARIANCE = 13,
  PERTURB_OP_NEAREST_NEIGHBORS = 14,
  PERTURB_OP_NEAREST_NEIGHBORS_VJP = 15,
  PERTURB_OP_COST = 16
} perturb_operation;

/* The bytes of workspace that a call with these arguments uses, whichever optional outputs and options it is given. noise: NULL for SOLVE,
 * LPGD, SPO_PLUS. O(threads (n + m)) on a CPU context (O(threads n m) for the Jacobian, whose result is that large), more for custom
 * oracles; never batch x samples x n. Nearest neighbours keep theta and its gradient, 8 batch n bytes, whatever the dimensions. */
PERTURB_API perturb_status perturb_workspace_size(const perturb_context* context, perturb_operation operation, const perturb_oracle* oracle,
                                                  const perturb_noise* noise, int64_t batch, size_t* bytes);

/* Fills z[batch, samples, n] with the very Z that the calls below use; epsilon and mode do not matter. For tests and for users who
 * want the noise of a run. n: 1..2^31 - 1. */
PERTURB_API perturb_status perturb_noise_fill(perturb_context* context, const perturb_noise* noise, int64_t batch, int64_t n, float* z);

/* ================================================================ the perturbed optimizer and its derivatives
 * Below, y_m = y*(s_m) is the solution and s_m the perturbed theta of sample m = 1..M, S_m its noise scores, and sigma is +1, but -1 for a
 * MINIMIZE oracle with additive noise. With multiplicative noise eps_i is replaced by eps_i theta_i in every division (papers: Berthet
 * proposition 3.1; Dalle et al. 2022). All sums are exact integers or fixed point, then rounded once (of custom oracles: in double). */

/* The hard optimizer: y [batch, m], value [batch] or NULL: max (or min) <y, theta>. */
PERTURB_API perturb_status perturb_solve(perturb_context* context, const perturb_oracle* oracle, int64_t batch, const float* theta, float* y,
                                         float* value);

/* Every sample's solution: y [batch, samples, m]. */
PERTURB_API perturb_status perturb_sample(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                          const float* theta, float* y);

/* y_mean [batch, m]: the mean of y_m, an estimate of y_eps.
 * y_std_error [batch, m] or NULL: its standard error, sample standard deviation / sqrt(M); +infinity for one sample.
 * value [batch] or NULL: the mean of <y_m, s_m>, an estimate of F_eps (E min when minimising). value_std_error likewise, or NULL. */
PERTURB_API perturb_status perturb_expectation(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                               const float* theta, float* y_mean, float* y_std_error, float* value, float* value_std_error);

/* gradient [batch, n] = J^T g for a cotangent g [batch, m] of y_eps, J = d y_eps / d theta:
 * sigma/(eps_i D) sum_m (<g, y_m> - b) S_m,i, with D and b by the baseline: M - 1 and the mean (leave-one-out), M and 0 (none), M and <g, y*(theta)> (unperturbed) (Berthet eq. 5). */
PERTURB_API perturb_status perturb_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                       const float* theta, const float* cotangent, float* gradient);

/* derivative [batch, m] = J u for a tangent u [batch, n]: sigma/D sum_m (y_m - b) <u / eps, S_m>. */
PERTURB_API perturb_status perturb_jvp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                       const float* theta, const float* tangent, float* derivative);

/* jacobian [batch, m, n], entry (i, j) = d y_eps,i / d theta_j: sigma/(eps_j D) sum_m (y_m,i - b_i) S_m,j. */
PERTURB_API perturb_status perturb_jacobian(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                            const float* theta, float* jacobian);

/* The derivative of <g, y_eps> in the amplitudes, for a cotangent g [batch, m]; where epsilon is learned or annealed. With T_m,i = S_m,i z_m,i - 1
 * (the derivative of the log density of theta_i + eps_i z_i in eps_i, times eps_i; E T = 0) and b, D as of perturb_vjp:
 *   gradient_per_item [batch, n] or NULL: in eps_i = epsilon * epsilon_per_item[i]:  1/(eps_i D) sum_m (<g, y_m> - b) T_m,i; times epsilon it is
 *                                         the derivative in epsilon_per_item[i]
 *   gradient_epsilon [batch] or NULL:     in epsilon: 1/(epsilon D) sum_m (<g, y_m> - b) sum_i T_m,i over the items that are perturbed
 * At least one must be given. The sign is the same when minimising. Items that are not perturbed, and walls, have 0. T is even in z, so an
 * antithetic pair cancels no baseline: LEAVE_ONE_OUT is then UNPERTURBED. MULTIPLICATIVE noise is UNSUPPORTED (docs/composed.md has its formula). */
PERTURB_API perturb_status perturb_vjp_epsilon(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                               const float* theta, const float* cotangent, float* gradient_epsilon, float* gradient_per_item);

/* covariance [batch, m, m]: the unbiased sample covariance of y, 1/(M-1) sum_m (y_m - y_mean)(y_m - y_mean)^T, symmetric to the bit; its diagonal is
 * y_std_error^2 M. Gumbel argmax: diag(p) - p p^T. m is at most 4096, else UNSUPPORTED, as are antithetic samples, which depend on each other.
 * One sample has no covariance: INVALID_ARGUMENT. */
PERTURB_API perturb_status perturb_covariance(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                              const float* theta, float* covariance);

/* The Fenchel-Young loss of a target t [batch, m], a vertex of Y (Berthet section 4; the sample-wise non-negative form):
 *   loss [batch] or NULL:             mean_m <y_m, s_m> - <t, s_m>, negated when minimising (and for descending ranks); >= 0
 *   gradient [batch, n] or NULL:      y_mean - t, or t - y_mean when minimising; with multiplicative noise mean_m W_m (y_m - t), likewise signed
 *   epsilon_gradient [batch] or NULL: the derivative of the row's loss in noise.epsilon, per-item and per-row factors included; times
 *                                     epsilon / epsilon_per_row[b] it is the derivative in epsilon_per_row[b]
 * At least one output must be given. The loss keeps its constant -eps <t, E Z>: it is the loss whose minimum over theta is 0.
 * Targets inside the hull of Y are welcome: the loss then is that of a mixture up to a constant, entries rounded to 2^-16, and each sample's
 * is at least 0. Target entries are at most 2^31 in magnitude. Where costs are clamped at the floor the gradient is still t - y_mean. */
PERTURB_API perturb_status perturb_fenchel_young(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                 const float* theta, const float* target, float* loss, float* gradient, float* epsilon_gradient);

/* ================================================================ expected sorted values
 * Order statistics of the perturbed scores: maxima, medians, quantiles, the sum of the largest k. oracle: sort, or ordered top-k (whose k is below;
 * a sort's is n); others are UNSUPPORTED. i_m(j) is the item at position j of sample m, s_m,i its perturbed score. The gradient is pathwise: it needs no
 * noise score and no baseline, does not divide by epsilon, and at epsilon = 0 is that of the hard sort. Sums are exact integers, rounded once. */

/* values [batch, k]: mean_m s_m,i_m(j), an estimate of the expected j-th sorted perturbed score, to within 2^-59 of the row's largest possible score.
 * std_error [batch, k] or NULL: its standard error; +infinity for one sample, UNSUPPORTED for antithetic samples. */
PERTURB_API perturb_status perturb_sorted_values(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                 const float* theta, float* values, float* std_error);

/* gradient [batch, n] of <g, values> for a cotangent g [batch, k]: mean_m sum_j g_j [i_m(j) = i] (times W_i with multiplicative noise), the derivative
 * of what perturb_sorted_values returns for the same arguments wherever no two perturbed scores are equal, and unbiased for that of its mean. */
PERTURB_API perturb_status perturb_sorted_values_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                     const float* theta, const float* cotangent, float* gradient);

/* ================================================================ accumulators: one estimate over many calls
 * An accumulator keeps the integer sums of one estimate and takes samples at any time, in any order, in parts of any size: a frame's
 * budget, until an error is small enough, on several machines. Its result has the bits of one call with all the samples. Samples
 * count from 0 to 2^32 - 1 (the noise of a call with first_sample); each may be added once, and an accumulator knows which it has. */
typedef struct perturb_accumulator perturb_accumulator;

/* Makes an empty accumulator for `batch` >= 1 rows. operation: EXPECTATION, VJP, JVP, JACOBIAN or FENCHEL_YOUNG, else UNSUPPORTED, as are custom
 * oracles (their sums are not integers, and in parts would round otherwise), GIVEN noise, LATIN sampling, and on a CUDA context grids with
 * options.negative ERROR. noise: as of
 * the operation's call; samples and first_sample do not matter. Context, oracle, noise->epsilon_per_item and epsilon_per_row must outlive it, and it is used
 * like the context: by one thread at a time. Memory: about 8 (m + 8) bytes per row of an expectation, 24 n of a VJP, from the context's
 * allocator: host or device memory. */
PERTURB_API perturb_status perturb_accumulator_create(perturb_context* context, perturb_operation operation, const perturb_oracle* oracle,
                                                      const perturb_noise* noise, int64_t batch, perturb_accumulator** accumulator);
PERTURB_API void perturb_accumulator_destroy(perturb_accumulator* accumulator);

/* Adds samples first_sample .. first_sample + samples - 1. theta [batch, n] and operand (cotangent, tangent or target; NULL for EXPECTATION and
 * JACOBIAN) must hold the same values in every call of an accumulator. Workspace: that of the operation with as many samples.
 * INVALID_ARGUMENT if one of the samples was added before; a call that fails has added nothing. */
PERTURB_API perturb_status perturb_accumulator_add(perturb_accumulator* accumulator, int64_t first_sample, int64_t samples, const float* theta,
                                                   const float* operand);

/* The estimate from all samples so far; more may be added afterwards. outputs: those of the operation's function, in its order, NULL where
 * optional and not wanted; only as many pointers are read as it has outputs. INVALID_ARGUMENT if there are no samples. */
PERTURB_API perturb_status perturb_accumulator_result(perturb_accumulator* accumulator, const float* theta, const float* operand, float* const* outputs);

/* How many samples it has; 0 for NULL. */
PERTURB_API int64_t perturb_accumulator_samples(const perturb_accumulator* accumulator);

/* Adds the samples of another accumulator of the same estimate (operation, oracle, noise, rows) on the same device, or both on CPU contexts.
 * INVALID_ARGUMENT where they differ or share a sample. */
PERTURB_API perturb_status perturb_accumulator_merge(perturb_accumulator* accumulator, const perturb_accumulator* other);

/* Its contents as bytes that any machine and backend can load (docs/determinism.md has the format): *size bytes to `bytes`. With bytes NULL only
 * *size is set; INVALID_ARGUMENT if *size is too small. On a CUDA context this waits for the stream. */
PERTURB_API perturb_status perturb_accumulator_save(const perturb_accumulator* accumulator, void* bytes, size_t* size);

/* Adds the samples of saved bytes, as merge does. Bytes that are cut short, changed or of another estimate are INVALID_ARGUMENT with a sentence
 * that names the first difference, and add nothing. */
PERTURB_API perturb_status perturb_accumulator_load(perturb_accumulator* accumulator, const void* bytes, size_t size);

/* ================================================================ LPGD and its family: re-solve on a shifted input
 * Gradients through a solver whose derivative is zero or undefined: solve again at an input that the loss has shifted, and subtract (Paulus et al.,
 * "LPGD", ICML 2024). With costs c = theta when minimising, c = -theta when maximising, L(y, c) = <y, c>, a loss with gradient g at y*, and
 *     y_tau = argmin_y <y, c + tau g> + (rho/2) ||y - y*||^2,      y^tau = argmin_y <y, c - tau g> + (rho/2) ||y - y*||^2,
 * the gradients in c are  LOWER: (y_tau - y*)/tau,  UPPER: (y* - y^tau)/tau,  AVERAGE: (y_tau - y^tau)/(2 tau); in theta their sign follows.
 * LOWER with rho = 0 is blackbox backpropagation (Vlastelica et al. 2020); UPPER with g the true costs is the perturbation-gradient loss's gradient
 * (Gupta and Huang 2024); AVERAGE is Domke's two-sided difference (2010). docs/lpgd.md has all special cases.
 * Inputs are fmaf(-+tau, g, theta), then fmaf(rho, y*, .); costs that fall below cost_floor are clamped there, and a grid with options.negative ERROR
 * is UNSUPPORTED. For grids without Fenchel-Young the rule is applied as written above although a path's cost is not <y, c>. A custom oracle needs
 * m = n, and rho = 0, since its solver knows no prox term; differences of its y are summed in double, in a fixed order. */
typedef enum perturb_side { PERTURB_SIDE_LOWER = 0, PERTURB_SIDE_UPPER = 1, PERTURB_SIDE_AVERAGE = 2 } perturb_side;
typedef struct perturb_lpgd_options {
  uint32_t struct_size;
  float tau;         /* > 0, finite; the step, in units of theta per unit of cotangent */
  float rho;         /* >= 0, finite; the prox weight, in units of theta. LPGD only; UNSUPPORTED for grids without Fenchel-Young */
  perturb_side side;
  int32_t relative;  /* 1: the step of a row is tau * ||theta||_2 / ||cotangent||_2 (AIMLE, Minervini et al. 2023), tau if a norm is 0; walls do not count */
  const float* tau_scale; /* [1] or NULL: tau is multiplied by this number, read when the call runs: host memory on a CPU context, device memory on a CUDA
                             context. >= 0, finite (on CUDA: else all rows are NaN); 0 gives a zero gradient. perturb_aimle_update adapts it */
} perturb_lpgd_options;
/* Defaults: tau 1, no prox term, lower, not relative, no tau_scale. */
#define PERTURB_LPGD_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_lpgd_options), 1.0f, 0.0f, PERTURB_SIDE_LOWER, 0, NULL }

/* gradient [batch, n] of a loss with gradient cotangent [batch, m] at y*(theta), m = n. options: NULL for the defaults. No noise: one solve for y* and one on
 * each side that is asked for. For ranks ||y|| is constant and the prox term is -rho <y, y*>; for 0/1 solutions it is rho <y, 1/2 - y*>: the same solver serves. */
PERTURB_API perturb_status perturb_lpgd(perturb_context* context, const perturb_oracle* oracle, const perturb_lpgd_options* options, int64_t batch,
                                        const float* theta, const float* cotangent, float* gradient);

/* Implicit maximum likelihood (Niepert et al. 2021): the mean over samples of the same differences, with the same noise on both solves:
 * LOWER, maximising: (1/(M tau)) sum_m y*(theta + eps Z_m) - y*(theta - tau g + eps Z_m). Their lambda is tau, and the result is divided by it.
 * noise as everywhere (baseline is not used); as tau -> 0 with AVERAGE it tends to the VJP of y_eps. rho must be 0: UNSUPPORTED otherwise. */
PERTURB_API perturb_status perturb_imle(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise,
                                        const perturb_lpgd_options* options, int64_t batch, const float* theta, const float* cotangent,
                                        float* gradient);

/* Adaptive I-MLE (AIMLE: Minervini, Franceschi, Niepert, AAAI 2023): a step that is just large enough to move solutions. The step of a row is
 * alpha ||theta|| / ||cotangent||, and after each gradient alpha is adapted so that a gradient has `target` entries that are not 0 per row, on average:
 *     lpgd.relative = 1;  lpgd.tau_scale = &state->alpha;       (AVERAGE is their symmetric difference)
 *     perturb_imle(..., &lpgd, ..., gradient);  perturb_aimle_update(context, NULL, batch, n, gradient, state);
 * The state is the caller's, like every array: in host memory for a CPU context, in device memory for a CUDA context, where nothing waits for it and a graph
 * of both calls adapts at every launch. Its layout is fixed. One state serves all rows and calls of a training run. */
typedef struct perturb_aimle_state {
  float alpha;      /* >= 0, finite */
  float average;    /* of the entries that are not 0 per row, over the updates so far, decaying; >= 0, finite */
  int64_t nonzeros; /* of the last update: how many entries of its gradient were not 0, */
  int64_t rows;     /* and in how many rows */
} perturb_aimle_state;
/* Where the authors start: alpha 1, and as many entries as are wanted. */
#define PERTURB_AIMLE_STATE_INIT \
  { 1.0f, 1.0f, 0, 0 }

typedef struct perturb_aimle_options {
  uint32_t struct_size;
  float step;   /* by which alpha rises or falls; >= 0, finite */
  float decay;  /* of the average; in [0, 1) */
  float target; /* entries that are not 0 per row; >= 0, finite */
} perturb_aimle_options;
/* Defaults: the authors' step 1e-4, decay 0.9 and target 1. */
#define PERTURB_AIMLE_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_aimle_options), 1e-4f, 0.9f, 1.0f }

/* average <- decay average + (1 - decay) nonzeros / rows;  alpha <- max(0, alpha + step) where average < target, else max(0, alpha - step).
 * options: NULL for the defaults. gradient [batch, n]: what perturb_imle or perturb_lpgd returned, a mean over samples, so that an entry counts where it is
 * not 0 in the mean (the authors count in every sample: the same for one sample). A row with an entry that is not finite is left out, on either backend;
 * where no row is left alpha and average stay. Counts are exact, the rest is in double and rounded once. A state out of range is INVALID_ARGUMENT; on CUDA
 * alpha and average then become NaN. state: aligned to 8 bytes. Needs no workspace. */
PERTURB_API perturb_status perturb_aimle_update(perturb_context* context, const perturb_aimle_options* options, int64_t batch, int64_t n,
                                                const float* gradient, perturb_aimle_state* state);

/* The SPO+ loss (Elmachtoub and Grigas 2022) of predicted theta [batch, n] for the true theta_true [batch, n], a convex upper bound of the regret. With
 * costs c^ and c as above, V(c) = min_y <y, c>:
 *   loss [batch] or NULL:        -V(2 c^ - c) + 2 <c^, y*(c)> - V(c)      (>= 0; without the cost of an uncounted source, where clamped with clamped costs)
 *   gradient [batch, n] or NULL: 2 (y*(c) - y*(2 c^ - c)) in c^; its negative in theta when maximising
 * One output at least must be given. UNSUPPORTED for grids without Fenchel-Young. */
PERTURB_API perturb_status perturb_spo_plus(perturb_context* context, const perturb_oracle* oracle, int64_t batch, const float* theta,
                                            const float* theta_true, float* loss, float* gradient);

/* The identity backward rule (Sahoo et al., ICLR 2023): no second solve; the solver's Jacobian is taken to be I when it maximises <y, theta> and -I when it
 * minimises it. It needs theta to have no component that the solver does not see, so theta is projected first: w = P(theta), y = perturb_solve(w), and the
 * gradient goes back through P at theta. With mean(theta) = sum_i theta_i / n:
 *   NONE  P(theta) = theta
 *   MEAN  P(theta) = theta - mean(theta)                                       for a y whose entries have a fixed sum: argmax, top-k, ranks, sorts
 *   NORM  P(theta) = theta / ||theta||_2                                       for every oracle: only the scale is lost
 *   STD   P(theta) = NORM of MEAN: length 1, that is variance 1 / n            as MEAN
 * A row that is to be divided by a length of 0 becomes 0, and its gradient is 0. MEAN and STD are UNSUPPORTED for grids, whose costs must stay positive.
 * Walls of a grid do not count, and are 0 in all outputs. Computed in double, in one order of sums, and rounded once. Neither call needs a workspace. */
typedef enum perturb_projection {
  PERTURB_PROJECTION_NONE = 0,
  PERTURB_PROJECTION_MEAN = 1,
  PERTURB_PROJECTION_NORM = 2,
  PERTURB_PROJECTION_STD = 3
} perturb_projection;

/* projected [batch, n] = P(theta). For any oracle, sorts and m != n included: its solver is not called. */
PERTURB_API perturb_status perturb_project(perturb_context* context, const perturb_oracle* oracle, perturb_projection projection, int64_t batch,
                                           const float* theta, float* projected);

/* gradient [batch, n] in theta (not in P(theta)) of a loss with gradient cotangent [batch, m] at y*(P(theta)), m = n:
 *   s J^T g,  s = +1 for argmax, top-k and ascending ranks, -1 for descending ranks and grids, by options.sense for custom oracles,
 *   J^T g:  NONE g;  MEAN g - mean(g);  NORM (g - w <w, g>) / ||theta||, w = P(theta);  STD (g - mean(g) - w <w, g>) / ||theta - mean(theta)||
 * UNSUPPORTED for sorts, and where m differs from n. Entries beyond float become the largest float. */
PERTURB_API perturb_status perturb_identity_vjp(perturb_context* context, const perturb_oracle* oracle, perturb_projection projection, int64_t batch,
                                                const float* theta, const float* cotangent, float* gradient);

/* ================================================================ calls made of other calls (docs/composed.md) */

/* Perturbed k nearest neighbours: the expectation of top-k (oracle: perturb_top_k_create(n, k), or argmax for k = 1, else UNSUPPORTED) at
 *   theta_bi = -||q_b - x_i||^2,  q = queries [batch, dimensions], x = points [n, dimensions].
 * y_mean [batch, n]: how often point i is among the k nearest of query b; y_std_error [batch, n] or NULL, as of perturb_expectation. epsilon is in units of
 * squared distance. A squared distance is a chain of fmaf over ascending dimensions, in float. No array of batch x n x dimensions is made.
 * INVALID_ARGUMENT where a squared distance (or with epsilon, what it may be perturbed to) is beyond float; on CUDA that row is NaN. */
PERTURB_API perturb_status perturb_nearest_neighbors(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                     int64_t dimensions, const float* queries, const float* points, float* y_mean, float* y_std_error);

/* Its VJP, for a cotangent [batch, n] of y_mean; with t_bi the gradient that perturb_vjp gives in theta_bi:
 *   gradient_queries [batch, dimensions] or NULL: -2 sum_i t_bi (q_b - x_i)
 *   gradient_points [n, dimensions] or NULL:       2 sum_b t_bi (q_b - x_i)
 * At least one must be given. Sums are in double, in ascending order. gradient_points sums over the rows: parts of a batch must be added up by the
 * caller, and agree with the whole to rounding; on CUDA a row that the CPU would refuse makes all of it NaN, unless a status of rows is lent. */
PERTURB_API perturb_status perturb_nearest_neighbors_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                         int64_t dimensions, const float* queries, const float* points, const float* cotangent,
                                                         float* gradient_queries, float* gradient_points);

typedef struct perturb_adaptive_options {
  uint32_t struct_size;
  float y_std_error;      /* the largest standard error of y_mean that is wanted, >= 0, finite; 0: not asked for */
  float value_std_error;  /* likewise of value. One of the two must be asked for */
  int64_t max_samples;    /* noise.samples .. 2^32 - noise.first_sample */
} perturb_adaptive_options;
/* Defaults: no bounds (set one), at most 2^20 samples. */
#define PERTURB_ADAPTIVE_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_adaptive_options), 0.0f, 0.0f, 1048576 }

/* perturb_expectation with as many samples as a standard error needs: noise.samples (at least 2) first, then more, their number foreseen from the error so
 * far, until the largest error of the batch is within its bound or there are max_samples. The outputs have the bits of one perturb_expectation with
 * *samples_used samples (host memory), which is the same number on every backend. PERTURB_ERROR_NOT_CONVERGED where max_samples were not enough: outputs
 * and *samples_used are then written, and are what max_samples give. An error estimated from few samples may be too small, and is 0 while y has not
 * moved yet: let noise.samples be large enough to see it move. Rows that are NaN on CUDA are left out.
 * The one call that waits for a CUDA stream, to read the errors: it cannot be captured. Its sums come from the context's allocator, as an
 * accumulator's; UNSUPPORTED where accumulators are, and for antithetic samples, which have no standard errors. */
PERTURB_API perturb_status perturb_expectation_adaptive(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                        const float* theta, const perturb_adaptive_options* options, float* y_mean, float* y_std_error,
                                                        float* value, float* value_std_error, int64_t* samples_used);

/* What perturb_expectation estimates, without samples: y [batch, m] = y_eps, value [batch] or NULL = F_eps (E min for descending ranks). There are
 *   argmax with Gumbel noise:            softmax(theta / eps), eps logsumexp(theta / eps) + 0.5772 eps
 *   ranks with Gumbel or normal noise:   base + sum_j P(item i beats j); E of max (min) over the permutations
 *   top-k with Gumbel noise, n <= 16:    Plackett-Luce inclusion probabilities by dynamic programming over subsets; value must be NULL
 * with additive noise and no epsilon_per_item; anything else is UNSUPPORTED. Of noise only distribution, mode and epsilon matter; epsilon = 0 gives the
 * hard solution (with perturb_solve's workspace) and no gradient. Computed in double, by functions with the same bits on all backends, then rounded: the
 * error is that of a float where no cancellation is. Time: O(n) per row of argmax, O(n^2) of ranks, O(2^n n) of top-k, whose tables, 16 2^n bytes for each
 * thread or block, come from the context's allocator. */
PERTURB_API perturb_status perturb_exact_expectation(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                                     const float* theta, float* y, float* value);

/* gradient [batch, n] = J^T g of the same, for a cotangent g [batch, m]. */
PERTURB_API perturb_status perturb_exact_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                             const float* theta, const float* cotangent, float* gradient);
/* ================================================================ the expectation of a cost of y: losses that are not <g, y>
 * A cost function of the caller's: cost[k] = c_row[k](y[k]) for `count` solutions, finite; returns 0. row[k], 0..batch - 1, is the row of the call
 * that y[k] is a solution of: every instance may have a cost of its own. Any other number than 0 stops the call with PERTURB_ERROR_CALLBACK.
 * cost is for CPU contexts, enqueue for CUDA contexts, with the rules of a solver's `solve` and `enqueue`; row, too, is device memory there. */
typedef int32_t (*perturb_cost)(int64_t count, const float* y /* [count, m] */, const int64_t* row /* [count] */, float* cost /* [count] */, void* stream,
                                void* user);
typedef struct perturb_cost_options {
  uint32_t struct_size;
  int32_t thread_safe;  /* 1: cost may be called from several threads at once; 0: on the calling thread alone, and samples are solved there too */
  perturb_cost cost;    /* for host memory; NULL: UNSUPPORTED on CPU contexts */
  perturb_cost enqueue; /* for device memory; NULL: UNSUPPORTED on CUDA contexts */
  void* user;           /* handed to both */
} perturb_cost_options;
/* Defaults: no cost function (set cost or enqueue), not thread-safe. */
#define PERTURB_COST_OPTIONS_INIT \
  { (uint32_t)sizeof(perturb_cost_options), 0, NULL, NULL, NULL }

/* mean [batch]: the mean of c(y_m), an estimate of E c(y*(theta + eps Z)). std_error [batch] or NULL: its standard error, +infinity for one sample.
 * gradient [batch, n] or NULL: of the expectation, by the score function: sigma/(eps_i D) sum_m (c(y_m) - b) S_m,i, with D and b by the baseline as in
 * perturb_vjp, c(y) for <g, y> (the REINFORCE estimator with the noise's density; Berthet proposition 3.1 holds for any function of y). c need not be
 * smooth, nor known outside of Y. For any oracle; each sample is solved once, and each y is given to the cost function once (with the unperturbed
 * baseline and a gradient also each row's y*(theta)). Sums are in double precision in a fixed order, as of custom oracles: the same bits for any number of
 * threads and on both backends. A call that fails has written nothing. On a CUDA context a row with a cost that is not finite has NaN in all its outputs. */
PERTURB_API perturb_status perturb_cost_expectation(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise,
                                                    const perturb_cost_options* options, int64_t batch, const float* theta, float* mean, float* std_error,
                                                    float* gradient);

#ifdef __cplusplus
}
#endif
#endif
