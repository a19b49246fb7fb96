/* How a property is stated, and how the search that proves them all shows what it came across on its way. */

#define MUST(property, holds) \
  if :: (ONLY == 0 || ONLY == ID_##property) && !(holds) -> property = 1; assert(!property) :: else fi
#define SEEN(situation) c_code { static int seen; if (!seen) { seen = 1; printf("seen: " #situation "\n"); } }

#ifndef ONLY
#define ONLY 0                 /* all of them */
#endif

#define ID_inv1_one_promotion_per_etag            1
#define ID_inv1_tokens_grow                       2
#define ID_inv2_files_of_one_attempt              3
#define ID_inv2_published_files_stay              4
#define ID_inv3_content_in_order                  5
#define ID_inv3_no_delta_left_out                 6
#define ID_inv3_runs_take_a_prefix_of_the_order   7
#define ID_inv3_strong_answer_in_order            8
#define ID_inv4_deleted_only_when_contained       9
#define ID_inv4_nothing_is_lost                   10
#define ID_inv5_applied_once                      11
#define ID_inv6_never_back                        12
#define ID_inv6_strong_read_sees_all_acknowledged 13
#define ID_inv7_only_ones_own_lock                14
#define ID_inv9_refused_run_changed_nothing       15

bit inv1_one_promotion_per_etag,
    inv1_tokens_grow,
    inv2_files_of_one_attempt,
    inv2_published_files_stay,
    inv3_content_in_order,
    inv3_no_delta_left_out,
    inv3_runs_take_a_prefix_of_the_order,
    inv3_strong_answer_in_order,
    inv4_deleted_only_when_contained,
    inv4_nothing_is_lost,
    inv5_applied_once,
    inv6_never_back,
    inv6_strong_read_sees_all_acknowledged,
    inv7_only_ones_own_lock,
    inv9_refused_run_changed_nothing;
