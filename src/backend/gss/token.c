/* SPDX-License-Identifier: Apache-2.0 */
/* The outside of a token, looked at before any library parses it. */
#include "backend/gss/gss.h"

#include <string.h>

/* RFC 2743 3.1: 0x60, length, mechanism; RFC 4121 4.1: kind. Anything that is
 * not krb5 itself (SPNEGO, NegoEx, IAKERB) ends here. */
bool hvri_gss_token_is(const void *token, size_t length, unsigned kind)
{
	static const uint8_t krb5[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
					0xf7, 0x12, 0x01, 0x02, 0x02 };
	const uint8_t *at = token;
	size_t inner, header = 2;

	if (length < 2 || length > HVRI_GSS_TOKEN_MAX || at[0] != 0x60)
		return false;
	inner = at[1];
	if (inner == 0x81 && length >= 3) {
		inner = at[2];
		header = 3;
		if (inner < 0x80)
			return false; /* DER has one form. */
	} else if (inner == 0x82 && length >= 4) {
		inner = (size_t)at[2] << 8 | at[3];
		header = 4;
		if (inner < 0x100)
			return false;
	} else if (inner >= 0x80) {
		return false;
	}
	if (inner != length - header || inner < sizeof(krb5) + 2)
		return false;
	at += header;
	return memcmp(at, krb5, sizeof(krb5)) == 0 &&
	       ((unsigned)at[sizeof(krb5)] << 8 | at[sizeof(krb5) + 1]) == kind;
}

bool hvri_gss_is_plain(const void *text, size_t length)
{
	const uint8_t *at = text;

	if (length == 0 || length > HVREPL_PEER_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (at[i] <= 0x20 || at[i] >= 0x7f)
			return false;
	return true;
}
