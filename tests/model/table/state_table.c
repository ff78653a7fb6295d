/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/state-table.md and docs/state-table.svg, out of the library's own tables:
 * which operation is allowed where, and who stands how when two sites meet.
 *
 *   model-table md | svg
 */
#include "replication/names.h"
#include "replication/rules.h"
#include "replication/verdict.h"

#include <stdio.h>
#include <string.h>

static const char *const need_names[HVRI_NEED_COUNT] = {
	"contact", "no other job", "a point", "committed", "an overlay",
	"not planned", "nothing to fold", "a handover given", "a lost end",
	"the peer ready", "not armed", "contact, or a peer to be asked"
};

/* Order of the columns: as an operator meets them. */
static const uint32_t columns[] = {
	HVREPL_OPERATION_ENABLE,     HVREPL_OPERATION_START_INITIAL,
	HVREPL_OPERATION_SUSPEND,    HVREPL_OPERATION_RESUME,
	HVREPL_OPERATION_RESYNC,     HVREPL_OPERATION_CUT_NOW,
	HVREPL_OPERATION_VERIFY,     HVREPL_OPERATION_PLANNED,
	HVREPL_OPERATION_UNPLANNED,  HVREPL_OPERATION_CHANGE_POINT,
	HVREPL_OPERATION_CANCEL,     HVREPL_OPERATION_COMMIT,
	HVREPL_OPERATION_REVERSE,    HVREPL_OPERATION_DISCARD,
	HVREPL_OPERATION_FORCE,	     HVREPL_OPERATION_REMOVE,
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

struct row {
	uint32_t mode, state, ownership;
};
#define ROWS_MAX (4u * HVREPL_STATE_COUNT * HVREPL_OWNERSHIP_COUNT)
static struct row rows[ROWS_MAX];
static uint32_t row_count;

static const struct hvri_rule *rule_of(const struct row *row, uint32_t operation)
{
	return hvri_rule_find(row->mode, row->state, row->ownership, operation);
}

/* States that no flow leads to are refused by the general rules only. */
static bool has_flow(const struct row *row)
{
	bool superseded = row->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
			  row->ownership == HVREPL_OWNERSHIP_DIVERGED;

	if (row->mode == HVREPL_MODE_NONE)
		return row->state == HVREPL_STATE_DISABLED &&
		       row->ownership == HVREPL_OWNERSHIP_OWNER;
	if (row->ownership == HVREPL_OWNERSHIP_RELINQUISHED)
		return row->state == HVREPL_STATE_PREPARED_FOR_FAILOVER;
	/* Whatever it was before, a superseded site shows Error. */
	if (superseded && row->state == HVREPL_STATE_ERROR)
		return true;
	if (row->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	    row->state == HVREPL_STATE_DISABLED)
		return false;
	if (row->ownership == HVREPL_OWNERSHIP_DIVERGED)
		return row->state == HVREPL_STATE_FAILED_OVER ||
		       row->state ==
			       HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION;
	if (row->mode == HVREPL_MODE_PRIMARY &&
	    (row->ownership == HVREPL_OWNERSHIP_STANDBY ||
	     row->state == HVREPL_STATE_WAITING_FOR_INITIAL))
		return false;
	if (row->mode == HVREPL_MODE_REPLICA &&
	    (row->state == HVREPL_STATE_INITIAL_IN_PROGRESS ||
	     (row->ownership == HVREPL_OWNERSHIP_OWNER &&
	      row->state != HVREPL_STATE_PREPARED_FOR_FAILOVER &&
	      row->state != HVREPL_STATE_FAILED_OVER &&
	      row->state != HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)))
		return false;
	for (uint32_t i = 0; i < COLUMNS; i++) {
		const struct hvri_rule *rule = rule_of(row, columns[i]);

		if (columns[i] != HVREPL_OPERATION_REMOVE &&
		    columns[i] != HVREPL_OPERATION_FORCE &&
		    columns[i] != HVREPL_OPERATION_DISCARD &&
		    columns[i] != HVREPL_OPERATION_CANCEL &&
		    rule->plan != HVRI_PLAN_REFUSE)
			return true;
	}
	return row->state == HVREPL_STATE_PREPARED_FOR_FAILOVER &&
	       row->ownership == HVREPL_OWNERSHIP_OWNER;
}

static void find_rows(void)
{
	for (uint32_t mode = 0; mode <= HVREPL_MODE_REPLICA; mode++)
		for (uint32_t o = 0; o < HVREPL_OWNERSHIP_COUNT; o++)
			for (uint32_t s = 0; s < HVREPL_STATE_COUNT; s++) {
				struct row row = { mode, s, o };

				if (has_flow(&row))
					rows[row_count++] = row;
			}
}

static void needs_text(uint32_t needs, char *out, size_t size)
{
	size_t n = 0;

	out[0] = 0;
	for (uint32_t i = 0; i < HVRI_NEED_COUNT; i++)
		if (needs >> i & 1)
			n += (size_t)snprintf(out + n, size - n, "%s%s",
					      n ? ", " : "", need_names[i]);
}

/* ---- Words. ---- */

static void operations_md(void)
{
	printf("## What is allowed where\n\n"
	       "One line for each state that a flow leads to. An operation "
	       "whose name is missing is\nrefused, with a sentence that says "
	       "what to do instead. In brackets: what must hold\nbesides. "
	       "*asked there*: the other site does it. *so already*: success, "
	       "nothing changes.\n\n![the same as a picture](state-table.svg)"
	       "\n\n| mode | state | ownership | operations |\n"
	       "|---|---|---|---|\n");
	for (uint32_t k = 0; k < row_count; k++) {
		const struct row *row = &rows[k];
		const char *comma = "";

		printf("| %s | %s | %s | ", hvri_mode_name(row->mode),
		       hvri_state_name(row->state),
		       hvri_ownership_name(row->ownership));
		for (uint32_t i = 0; i < COLUMNS; i++) {
			const struct hvri_rule *rule = rule_of(row, columns[i]);
			char needs[400];

			if (rule->plan == HVRI_PLAN_REFUSE)
				continue;
			needs_text(rule->needs, needs, sizeof(needs));
			printf("%s%s", comma, hvri_operation_name(columns[i]));
			if (rule->plan == HVRI_PLAN_FORWARD)
				printf(" *asked there*");
			if (rule->plan == HVRI_PLAN_NOTHING)
				printf(" *so already*");
			if (needs[0])
				printf(" (%s)", needs);
			comma = "; ";
		}
		printf(" |\n");
	}
}

static const char *const relation_names[HVRI_RELATION_COUNT] = {
	"the same", "the peer's descends from mine",
	"mine descends from the peer's", "siblings", "nothing in common"
};
static const char *const fact_names[HVRI_FACT_COUNT] = {
	"the peer knows more of my own epochs", "its path holds an abandoned one",
	"my epoch is mine", "its epoch is not mine",
	"its path holds the child I gave away", "I am beyond its fork",
	"I discarded its epoch", "I am armed", "it is armed",
	"its verdict is about my epoch", "I hold it superseded",
	"it was restored from a backup"
};
static const char *const standing_names[HVRI_STANDING_COUNT] = {
	"nothing", "rolled back", "ignored", "normal", "refused",
	"standby: it owns", "follow", "refuse its frames", "stay owner",
	"superseded", "diverged", "it is superseded", "both write"
};

/* What a row looks at, found by asking it about everything. */
struct seen {
	uint32_t relations, mine, peer, always, never;
	bool any;
};

static struct seen look(uint32_t row)
{
	struct seen seen = { .always = (1u << HVRI_FACT_COUNT) - 1,
			     .never = (1u << HVRI_FACT_COUNT) - 1 };
	struct hvri_verdict_facts f;

	for (uint32_t r = 0; r < HVRI_RELATION_COUNT; r++)
		for (uint32_t m = 0; m < HVREPL_OWNERSHIP_COUNT; m++)
			for (uint32_t p = 0; p < HVREPL_OWNERSHIP_COUNT; p++)
				for (uint32_t s = 0; s < 1u << HVRI_FACT_COUNT;
				     s++) {
					f.relation = (uint8_t)r;
					f.ownership = (uint8_t)m;
					f.peer_ownership = (uint8_t)p;
					f.set = s;
					if (!hvri_verdict_row_matches(row, &f))
						continue;
					seen.relations |= 1u << r;
					seen.mine |= 1u << m;
					seen.peer |= 1u << p;
					seen.always &= s;
					seen.never &= ~s;
					seen.any = true;
				}
	return seen;
}

static void print_ownerships(uint32_t set)
{
	const char *comma = "";

	if (set == (1u << HVREPL_OWNERSHIP_COUNT) - 1) {
		printf("any");
		return;
	}
	for (uint32_t i = 0; i < HVREPL_OWNERSHIP_COUNT; i++)
		if (set >> i & 1) {
			printf("%s%s", comma, hvri_ownership_name(i));
			comma = ", ";
		}
}

static void verdict_md(void)
{
	printf("\n## Who stands how when two sites meet\n\n"
	       "The table of O6; the first line that matches decides. Columns: "
	       "how the two current\nepochs lie, my ownership, the peer's, "
	       "what must be so and what must not.\n\n"
	       "| epochs | mine | peer's | so | not so | I am | because |\n"
	       "|---|---|---|---|---|---|---|\n");
	for (uint32_t k = 0; k < hvri_verdict_row_count(); k++) {
		struct seen seen = look(k);
		const char *comma = "";

		printf("| ");
		if (seen.relations == (1u << HVRI_RELATION_COUNT) - 1)
			printf("any");
		else
			for (uint32_t i = 0; i < HVRI_RELATION_COUNT; i++)
				if (seen.relations >> i & 1) {
					printf("%s%s", comma,
					       relation_names[i]);
					comma = "; ";
				}
		printf(" | ");
		print_ownerships(seen.mine);
		printf(" | ");
		print_ownerships(seen.peer);
		for (uint32_t side = 0; side < 2; side++) {
			uint32_t set = side ? seen.never : seen.always;

			printf(" | ");
			comma = "";
			for (uint32_t i = 0; i < HVRI_FACT_COUNT; i++)
				if (set >> i & 1) {
					printf("%s%s", comma, fact_names[i]);
					comma = "; ";
				}
		}
		printf(" | %s | %s |\n",
		       standing_names[hvri_verdict_standing(k)],
		       hvri_verdict_rule(k));
	}
}

static int words(void)
{
	printf("# The tables of a relationship\n\n"
	       "Made by `tests/model/run --table` from `src/replication/rules.c` "
	       "and `verdict.c`; a test\nfails when it is not what they say. "
	       "What every word means: docs/protocols.md.\n\n");
	operations_md();
	verdict_md();
	return 0;
}

/* ---- The picture. ---- */

#define LEFT 430u
#define TOP 150u
#define CELL_W 34u
#define CELL_H 22u

static const char *const colours[HVRI_PLAN_COUNT] = {
	"#f2f2f2", "#2e7d32", "#a5d6a7", "#90caf9"
};

static void cell(uint32_t x, uint32_t y, const struct hvri_rule *rule)
{
	bool asks = rule->plan == HVRI_PLAN_HERE && rule->needs != 0;

	printf("<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\" "
	       "stroke=\"#ffffff\"/>\n",
	       x, y, CELL_W, CELL_H, asks ? "#66a86a" : colours[rule->plan]);
	if (rule->needs != 0)
		printf("<circle cx=\"%u\" cy=\"%u\" r=\"3\" "
		       "fill=\"#ffffff\"/>\n",
		       x + CELL_W / 2, y + CELL_H / 2);
}

static void legend(uint32_t y)
{
	static const struct {
		const char *colour, *text;
		bool dot;
	} entries[] = {
		{ "#2e7d32", "done here", false },
		{ "#66a86a", "done here, if more holds", true },
		{ "#90caf9", "asked of the other site", true },
		{ "#a5d6a7", "so already", false },
		{ "#f2f2f2", "refused, with a reason", false },
	};
	uint32_t x = 20;

	for (uint32_t i = 0; i < 5; i++) {
		printf("<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"16\" "
		       "fill=\"%s\" stroke=\"#999999\"/>\n",
		       x, y, CELL_W, entries[i].colour);
		if (entries[i].dot)
			printf("<circle cx=\"%u\" cy=\"%u\" r=\"3\" "
			       "fill=\"#ffffff\"/>\n",
			       x + CELL_W / 2, y + 8);
		printf("<text x=\"%u\" y=\"%u\">%s</text>\n", x + CELL_W + 6,
		       y + 13, entries[i].text);
		x += CELL_W + 20 + 7 * (uint32_t)strlen(entries[i].text);
	}
}

static int picture(void)
{
	uint32_t width = LEFT + COLUMNS * CELL_W + 60;
	uint32_t height = TOP + row_count * CELL_H + 50;
	uint32_t mode = HVREPL_MODE_NONE;

	printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
	       "height=\"%u\" font-family=\"sans-serif\" font-size=\"12\">\n"
	       "<rect width=\"%u\" height=\"%u\" fill=\"#ffffff\"/>\n"
	       "<text x=\"20\" y=\"30\" font-size=\"16\">Operations, by mode, "
	       "state and ownership</text>\n",
	       width, height, width, height);
	for (uint32_t i = 0; i < COLUMNS; i++)
		printf("<text transform=\"translate(%u,%u) rotate(-45)\">%s"
		       "</text>\n",
		       LEFT + i * CELL_W + 20, TOP - 8,
		       hvri_operation_name(columns[i]));
	for (uint32_t k = 0; k < row_count; k++) {
		const struct row *row = &rows[k];
		uint32_t y = TOP + k * CELL_H;

		if (k == 0 || row->mode != mode)
			printf("<line x1=\"20\" y1=\"%u\" x2=\"%u\" y2=\"%u\" "
			       "stroke=\"#555555\"/>\n"
			       "<text x=\"20\" y=\"%u\" font-weight=\"bold\">%s"
			       "</text>\n",
			       y, width - 60, y, y + 16,
			       hvri_mode_name(row->mode));
		mode = row->mode;
		printf("<text x=\"90\" y=\"%u\">%s</text>\n"
		       "<text x=\"%u\" y=\"%u\">%s</text>\n",
		       y + 16, hvri_state_name(row->state), LEFT - 100, y + 16,
		       hvri_ownership_name(row->ownership));
		for (uint32_t i = 0; i < COLUMNS; i++)
			cell(LEFT + i * CELL_W, y, rule_of(row, columns[i]));
	}
	legend(height - 34);
	printf("</svg>\n");
	return 0;
}

int main(int argc, char **argv)
{
	find_rows();
	if (argc == 2 && strcmp(argv[1], "md") == 0)
		return words();
	if (argc == 2 && strcmp(argv[1], "svg") == 0)
		return picture();
	fprintf(stderr, "model-table md | svg\n");
	return 2;
}
