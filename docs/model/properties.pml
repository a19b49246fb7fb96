/* How a property is stated, and how the search that proves them all shows what it came across on its way. */

#define MUST(property, holds) \
  if :: CHECK_##property && !(holds) -> property = 1; assert(!property) :: else fi
#define SEEN(situation) c_code { static int seen; if (!seen) { seen = 1; printf("seen: " #situation "\n"); } }

#ifndef ONLY
#define EACH 1
#else
#define EACH 0
#endif
#ifndef CHECK_inv1_one_promotion_per_etag
#define CHECK_inv1_one_promotion_per_etag EACH
#endif
bit inv1_one_promotion_per_etag;
#ifndef CHECK_inv1_tokens_grow
#define CHECK_inv1_tokens_grow EACH
#endif
bit inv1_tokens_grow;
#ifndef CHECK_inv3_content_in_order
#define CHECK_inv3_content_in_order EACH
#endif
bit inv3_content_in_order;
#ifndef CHECK_inv3_no_delta_left_out
#define CHECK_inv3_no_delta_left_out EACH
#endif
bit inv3_no_delta_left_out;
#ifndef CHECK_inv4_deleted_only_when_contained
#define CHECK_inv4_deleted_only_when_contained EACH
#endif
bit inv4_deleted_only_when_contained;
#ifndef CHECK_inv4_nothing_is_lost
#define CHECK_inv4_nothing_is_lost EACH
#endif
bit inv4_nothing_is_lost;
#ifndef CHECK_inv5_applied_once
#define CHECK_inv5_applied_once EACH
#endif
bit inv5_applied_once;
#ifndef CHECK_inv7_only_ones_own_lock
#define CHECK_inv7_only_ones_own_lock EACH
#endif
bit inv7_only_ones_own_lock;
#ifndef CHECK_inv9_refused_run_changed_nothing
#define CHECK_inv9_refused_run_changed_nothing EACH
#endif
bit inv9_refused_run_changed_nothing;
#ifndef CHECK_inv3_strong_answer_in_order
#define CHECK_inv3_strong_answer_in_order EACH
#endif
bit inv3_strong_answer_in_order;
#ifndef CHECK_inv6_strong_read_sees_all_acknowledged
#define CHECK_inv6_strong_read_sees_all_acknowledged EACH
#endif
bit inv6_strong_read_sees_all_acknowledged;
#ifndef CHECK_inv6_never_back
#define CHECK_inv6_never_back EACH
#endif
bit inv6_never_back;
#ifndef CHECK_inv2_published_files_stay
#define CHECK_inv2_published_files_stay EACH
#endif
bit inv2_published_files_stay;
#ifndef CHECK_inv2_files_of_one_attempt
#define CHECK_inv2_files_of_one_attempt EACH
#endif
bit inv2_files_of_one_attempt;
#ifndef CHECK_inv3_runs_take_a_prefix_of_the_order
#define CHECK_inv3_runs_take_a_prefix_of_the_order EACH
#endif
bit inv3_runs_take_a_prefix_of_the_order;
