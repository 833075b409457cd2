"""Says what the names of events mean: an action of a shopper, a list that was shown, an identity, or no action.

The names are those of nextact, of GA4 [1, 2, 3], of Segment [4, 5] and of UBI [6], compared case-insensitively. A name
means the same in all formats, but for GA4's `click`: it is a click on a link that leads away from the shop.

[1] Events of online sales and others that are recommended:
    https://developers.google.com/analytics/devguides/collection/ga4/reference/events
[2] Events that are collected automatically: https://support.google.com/analytics/answer/9234069
[3] Events of enhanced measurement: https://support.google.com/analytics/answer/9216061
[4] https://segment.com/docs/connections/spec/ecommerce/v2/ and the names of its first version, .../spec/ecommerce/
[5] Calls: https://segment.com/docs/connections/spec/
[6] https://o19s.github.io/ubi/schema/1.3.0/event.schema.json, and those of its JavaScript client's examples
"""

from __future__ import annotations

from typing import Final

from model.data.events import EVENT_TYPES

_GA4_ACTIONS: Final = {
    "select_item": "click",
    "view_item": "view",
    "view_search_results": "search",
    "add_to_cart": "cart",
    "remove_from_cart": "remove",
    "add_to_wishlist": "favorite",
}
_SEGMENT_ACTIONS: Final = {
    "product clicked": "click",
    "clicked product": "click",
    "product viewed": "view",
    "viewed product": "view",
    "products searched": "search",
    "product added": "cart",
    "added product": "cart",
    "wishlist product added to cart": "cart",
    "product removed": "remove",
    "removed product": "remove",
    "product added to wishlist": "favorite",
    "order completed": "purchase",
    "completed order": "purchase",
}
_UBI_ACTIONS: Final = {"click_through": "click", "on_search": "search", "product_purchase": "purchase"}
TYPE_NAMES: Final = {name: name for name in EVENT_TYPES} | _GA4_ACTIONS | _SEGMENT_ACTIONS | _UBI_ACTIONS

SHOWN_NAMES: Final = frozenset(
    {"shown", "view_item_list", "product list viewed", "product list filtered", "viewed product category", "impression"}
)
IDENTITY_NAMES: Final = frozenset({"identify", "alias"})

_GA4_SALES: Final = (
    "add_payment_info", "add_shipping_info", "begin_checkout", "refund", "select_promotion", "view_cart",
    "view_promotion",
)  # fmt: skip
_GA4_RECOMMENDED: Final = (
    "close_convert_lead", "close_unconvert_lead", "disqualify_lead", "earn_virtual_currency", "generate_lead",
    "join_group", "level_end", "level_start", "level_up", "login", "post_score", "qualify_lead", "select_content",
    "share", "sign_up", "spend_virtual_currency", "tutorial_begin", "tutorial_complete", "unlock_achievement",
    "working_lead",
)  # fmt: skip
_GA4_AUTOMATIC: Final = (
    "ad_click", "ad_exposure", "ad_impression", "ad_query", "ad_reward", "adunit_exposure", "app_background",
    "app_clear_data", "app_exception", "app_remove", "app_store_refund", "app_store_subscription_cancel",
    "app_store_subscription_convert", "app_store_subscription_renew", "app_update", "campaign_details",
    "dynamic_link_app_open", "dynamic_link_app_update", "dynamic_link_first_open", "error", "firebase_campaign",
    "firebase_in_app_message_action", "firebase_in_app_message_dismiss", "firebase_in_app_message_impression",
    "first_open", "first_visit", "in_app_purchase", "notification_dismiss", "notification_foreground",
    "notification_open", "notification_receive", "notification_send", "os_update", "screen_view", "session_start",
    "user_engagement",
)  # fmt: skip
_GA4_MEASURED: Final = (
    "file_download", "form_start", "form_submit", "page_view", "scroll", "video_complete", "video_progress",
    "video_start",
)  # fmt: skip
_SEGMENT_EVENTS: Final = (
    "cart shared", "cart viewed", "checkout started", "checkout step completed", "checkout step viewed",
    "coupon applied", "coupon denied", "coupon entered", "coupon removed", "order cancelled", "order refunded",
    "order updated", "payment info entered", "product removed from wishlist", "product reviewed", "product shared",
    "promotion clicked", "promotion viewed",
)  # fmt: skip
_SEGMENT_CALLS: Final = (
    "page", "screen", "group",
)  # fmt: skip
_UBI_EVENTS: Final = (
    "button_click", "logout", "new_user_entry", "page_exit", "product_hover", "watch",
)  # fmt: skip
IGNORED_NAMES: Final = frozenset(
    _GA4_SALES + _GA4_RECOMMENDED + _GA4_AUTOMATIC + _GA4_MEASURED + _SEGMENT_EVENTS + _SEGMENT_CALLS + _UBI_EVENTS
)
GA4_IGNORED_NAMES: Final = frozenset({"click"})

# What each name means, in lower case: one of EVENT_TYPES, `shown`, `identify` or `ignored`.
MEANINGS: Final[dict[str, str]] = (
    TYPE_NAMES
    | dict.fromkeys(SHOWN_NAMES, "shown")
    | dict.fromkeys(IDENTITY_NAMES, "identify")
    | dict.fromkeys(IGNORED_NAMES, "ignored")
)
